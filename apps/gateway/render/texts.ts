/** The words and buttons around the model's text, in a reply's language. */
import type { ReplyAddress } from "#infra/discord/open-replies.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { type ErrorCode, errorRegistry } from "#infra/errors/registry.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { StopButtons } from "../commands/stop-button.ts";
import type { MessageBody } from "./carrier.ts";

export interface ReplyTexts {
  readonly thinking: string;
  /** Instead of a reply without words. */
  readonly empty: string;
  /** Instead of a reply stopped before its first word. */
  readonly stopped: string;
  failure(code: string): string;
  stopRow(): MessageBody["components"];
}

export function replyTexts(
  reply: ReplyAddress,
  parts: { readonly translator: Translator; readonly buttons: StopButtons },
): ReplyTexts {
  const { buttons, translator } = parts;
  const { conversation, key, locale } = reply;
  return {
    thinking: translator.text(locale, "replies:thinking"),
    empty: translator.text(locale, "replies:empty"),
    stopped: translator.text(locale, "replies:stopped"),
    failure: (code) => {
      const message = translator.error(locale, new EyrieError(codeForUsers(code)));
      return translator.text(locale, "replies:failed", { message, code });
    },
    stopRow: () => {
      const label = translator.text(locale, "replies:stopButton");
      return [buttons.row({ conversation, turn: key.turn }, label)];
    },
  };
}

/** What only an operator can mend is told to users as a failed turn. */
function codeForUsers(code: string): ErrorCode {
  const known = Object.entries(errorRegistry).find(([name]) => name === code);
  return known?.[1].audience === "user" ? (known[0] as ErrorCode) : "TURN_FAILED";
}
