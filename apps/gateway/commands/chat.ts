/** `/chat text:` asks the model; the deferred answer becomes the streamed reply. */
import { ApplicationCommandOptionType, ApplicationCommandType } from "discord.js";
import { judgeText, messageTextCharactersMax } from "../intake/message.ts";
import type { Command } from "./command.ts";
import { describe } from "./localise.ts";

export const chat: Command = {
  name: "chat",

  describe: (translator) => ({
    type: ApplicationCommandType.ChatInput,
    ...describe(translator, "chat"),
    options: [
      {
        type: ApplicationCommandOptionType.String,
        ...describe(translator, "chat.text"),
        required: true,
        max_length: messageTextCharactersMax,
      },
    ],
  }),

  async run(interaction, { answers, locale, submit, translator }) {
    const option = interaction.data.options?.[0];
    const raw = option?.type === ApplicationCommandOptionType.String ? option.value : "";
    const verdict = judgeText(raw);
    if (verdict.kind === "refuse") return answers.refuse(verdict.code);
    if (verdict.kind === "ignore" || !(await answers.defer())) return;
    const channelId = interaction.channel.id;
    const submitted = await submit({
      id: interaction.id,
      channelId,
      communityId: interaction.guild_id,
      authorId: (interaction.member?.user ?? interaction.user)?.id ?? "",
      text: verdict.text,
      locale,
      origin: {
        kind: "discord-interaction",
        channelId,
        applicationId: interaction.application_id,
        interactionToken: interaction.token,
      },
    });
    if (submitted.kind === "accepted") return;
    await answers.replace({ content: translator.text(locale, `errors:${submitted.code}`) });
  },
};
