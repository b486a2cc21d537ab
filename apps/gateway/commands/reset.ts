/** `/reset` forgets the channel's conversation and says what that was. */
import { ApplicationCommandType } from "discord.js";
import { requestStop } from "#infra/control/control.ts";
import { conversationOf } from "../intake/submit.ts";
import type { Command } from "./command.ts";
import { describe } from "./localise.ts";

export const reset: Command = {
  name: "reset",

  describe: (translator) => ({
    type: ApplicationCommandType.ChatInput,
    ...describe(translator, "reset"),
  }),

  async run(interaction, { answers, conversations, locale, mailbox, translator, truth }) {
    if (!(await answers.defer())) return;
    const conversation = conversationOf(interaction.channel.id);
    // First the stop: a turn that runs cannot commit after the reset, starts again, and ends.
    const [head] = await mailbox.waiting(conversation);
    if (head !== undefined) {
      await requestStop(truth, conversation, { turn: head.id, attempt: head.attempt });
    }
    const tokens = await conversations.reset(conversation, interaction.id);
    const key = tokens === 0 ? "replies:resetNothing" : "replies:reset";
    await answers.replace({ content: translator.text(locale, key, { count: tokens }) });
  },
};
