/** `/undo count:` takes the last exchanges back, and marks the replies that are undone. */
import { ApplicationCommandOptionType, ApplicationCommandType } from "discord.js";
import { undoTurnsMax } from "#infra/ledger/past-turn.ts";
import { conversationOf } from "../intake/submit.ts";
import type { Command } from "./command.ts";
import { describe } from "./localise.ts";

export const undo: Command = {
  name: "undo",

  describe: (translator) => ({
    type: ApplicationCommandType.ChatInput,
    ...describe(translator, "undo"),
    options: [
      {
        type: ApplicationCommandOptionType.Integer,
        ...describe(translator, "undo.count"),
        min_value: 1,
        max_value: undoTurnsMax,
      },
    ],
  }),

  async run(interaction, { answers, conversations, locale, renders, translator }) {
    if (!(await answers.defer({ privately: true }))) return;
    const option = interaction.data.options?.[0];
    const count = option?.type === ApplicationCommandOptionType.Integer ? option.value : 1;
    const conversation = conversationOf(interaction.channel.id);
    const rewound = await conversations.undo(conversation, count, interaction.id);
    if (rewound === null) {
      await answers.replace({ content: translator.text(locale, "replies:undoNothing") });
      return;
    }
    const { turns } = rewound;
    const content = translator.text(locale, "replies:undone", { count: turns.length });
    await answers.replace({ content });
    await renders.retire(conversation, turns);
  },
};
