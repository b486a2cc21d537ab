/**
 * `/privacy` shows, to the asker only, what is kept of a conversation, with Export and Delete: of all of
 * it, or of the asker alone.
 */
import { ApplicationCommandType, ButtonStyle } from "discord.js";
import type { Export } from "#infra/conversation/export.ts";
import { conversationOf } from "../intake/submit.ts";
import { noTurn } from "./buttons.ts";
import type { Command } from "./command.ts";
import { describe } from "./localise.ts";

export const privacy: Command = {
  name: "privacy",

  describe: (translator) => ({
    type: ApplicationCommandType.ChatInput,
    ...describe(translator, "privacy"),
  }),

  async run(interaction, { answers, buttons, conversations, locale, translator }) {
    if (!(await answers.defer({ privately: true }))) return;
    const conversation = conversationOf(interaction.channel.id);
    const exported = await conversations.export(conversation);
    if (Object.keys(exported.truth).length + Object.keys(exported.state).length === 0) {
      await answers.replace({ content: translator.text(locale, "replies:privacyNothing") });
      return;
    }
    const text = (key: "exportButton" | "leaveButton" | "deleteButton"): string =>
      translator.text(locale, `replies:${key}`);
    const row = buttons.row(
      [{ action: "export", conversation, key: noTurn }, { label: text("exportButton") }],
      [
        { action: "delete", conversation, key: noTurn },
        { label: text("deleteButton"), style: ButtonStyle.Danger },
      ],
      [{ action: "leave", conversation, key: noTurn }, { label: text("leaveButton") }],
    );
    const content = translator.text(locale, "replies:privacy", figures(exported, locale));
    await answers.replace({ content, components: [row] });
  },
};

function figures({ state, truth }: Export, locale: string): Record<string, string | number> {
  const sizes = Object.values(state).flatMap(({ value }) => bytesOf(value));
  const blocks = (truth["log"]?.value ?? []) as readonly { readonly tokens?: readonly number[] }[];
  const waiting = (truth["mailbox"]?.value ?? []) as readonly unknown[];
  return {
    snapshots: sizes.length,
    stateSize: megabytes(sizes[0] ?? 0, locale),
    tokens: blocks.reduce((sum, { tokens }) => sum + (tokens?.length ?? 0), 0),
    replies: Object.keys(truth).filter((key) => key.startsWith("reply:")).length,
    waiting: waiting.length,
  };
}

function bytesOf(value: unknown): number[] {
  const isSnapshot = typeof value === "object" && value !== null && "bytes" in value;
  return isSnapshot ? [Number(value.bytes)] : [];
}

function megabytes(bytes: number, locale: string): string {
  const options = { style: "unit", unit: "megabyte", maximumFractionDigits: 1 } as const;
  return new Intl.NumberFormat(locale, options).format(bytes / 1e6);
}
