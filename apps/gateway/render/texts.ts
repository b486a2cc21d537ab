/** The words and buttons around the model's text, in a reply's language. */
import type { ReplyAddress } from "#infra/discord/open-replies.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { type ErrorCode, errorRegistry } from "#infra/errors/registry.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { Buttons } from "../commands/buttons.ts";
import type { MessageBody } from "./carrier.ts";
import type { PartButton } from "./wanted.ts";

export interface ReplyTexts {
  readonly thinking: string;
  /** Instead of a reply without words. */
  readonly empty: string;
  /** Instead of a reply stopped before its first word. */
  readonly stopped: string;
  /** Under a reply that was taken back. */
  readonly undone: string;
  failure(code: string): string;
  row(button: PartButton): MessageBody["components"];
}

export function replyTexts(
  reply: ReplyAddress,
  parts: { readonly translator: Translator; readonly buttons: Buttons },
): ReplyTexts {
  const { buttons, translator } = parts;
  const { conversation, key, locale } = reply;
  // Every edit shows the same button, and its signature is not cheap.
  const rows = new Map<PartButton, MessageBody["components"]>([[null, []]]);
  const makeRow = (action: NonNullable<PartButton>): MessageBody["components"] => {
    const look =
      action === "stop"
        ? { label: translator.text(locale, "replies:stopButton"), emoji: "⏹️" }
        : { label: translator.text(locale, "replies:regenerateButton"), emoji: "🔄" };
    return [buttons.row([{ action, conversation, key }, look])];
  };
  return {
    thinking: translator.text(locale, "replies:thinking"),
    empty: translator.text(locale, "replies:empty"),
    stopped: translator.text(locale, "replies:stopped"),
    // Discord's small print.
    undone: `-# ${translator.text(locale, "replies:undoneMark")}`,
    failure: (code) => {
      const message = translator.error(locale, new EyrieError(codeForUsers(code)));
      return translator.text(locale, "replies:failed", { message, code });
    },
    row: (action) => {
      const row = rows.get(action) ?? makeRow(action!);
      rows.set(action, row);
      return row;
    },
  };
}

/** A failed turn is worth asking again if the same may succeed later. */
export function isWorthAgain(code: string | null): boolean {
  if (code === null) return true;
  const known = Object.entries(errorRegistry).find(([name]) => name === code);
  return known?.[1].retryable === true;
}

/** What only an operator can mend is told to users as a failed turn. */
function codeForUsers(code: string): ErrorCode {
  const known = Object.entries(errorRegistry).find(([name]) => name === code);
  return known?.[1].audience === "user" ? (known[0] as ErrorCode) : "TURN_FAILED";
}
