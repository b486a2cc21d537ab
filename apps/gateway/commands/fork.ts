/** `/fork title:` opens a thread in which the conversation goes on from here, apart from its source. */
import {
  ApplicationCommandOptionType,
  ApplicationCommandType,
  ChannelType,
  PermissionFlagsBits,
} from "discord.js";
import { userId } from "#infra/turn/index.ts";
import { conversationOf } from "../intake/submit.ts";
import type { Command } from "./command.ts";
import { describe } from "./localise.ts";

export const threadTitleCharactersMax = 100;

const own =
  PermissionFlagsBits.ViewChannel |
  PermissionFlagsBits.SendMessages |
  PermissionFlagsBits.SendMessagesInThreads |
  PermissionFlagsBits.CreatePublicThreads;

export const fork: Command = {
  name: "fork",

  describe: (translator) => ({
    type: ApplicationCommandType.ChatInput,
    ...describe(translator, "fork"),
    options: [
      {
        type: ApplicationCommandOptionType.String,
        ...describe(translator, "fork.title"),
        max_length: threadTitleCharactersMax,
      },
    ],
  }),

  async run(interaction, { answers, forks, locale, translator }) {
    const { channel } = interaction;
    const isPlace =
      channel.type === ChannelType.GuildText || channel.type === ChannelType.GuildAnnouncement;
    if (!isPlace) return answers.refuse("FORK_NOT_HERE");
    // Whoever may not open threads must not have one opened.
    const asker = BigInt(interaction.member?.permissions ?? 0);
    const mayOpen = (asker & PermissionFlagsBits.CreatePublicThreads) !== 0n;
    if (!mayOpen || (BigInt(interaction.app_permissions) & own) !== own) {
      return answers.refuse("FORK_FORBIDDEN");
    }
    if (!(await answers.defer({ privately: true }))) return;
    const option = interaction.data.options?.[0];
    const asking = (interaction.member?.user ?? interaction.user)?.id;
    const title = option?.type === ApplicationCommandOptionType.String ? option.value.trim() : "";
    const outcome = await forks.begin({
      operation: interaction.id,
      source: conversationOf(channel.id),
      channelId: channel.id,
      title: title === "" ? translator.text(locale, "replies:forkTitle") : title,
      locale,
      anchorId: null,
      ...(asking === undefined ? {} : { author: userId(asking) }),
    });
    if (outcome.kind === "refused") return answers.refuse(outcome.code);
    const thread = `<#${outcome.threadId}>`;
    await answers.replace({ content: translator.text(locale, "replies:forked", { thread }) });
  },
};
