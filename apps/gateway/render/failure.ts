/** What a failed request to Discord means for the reply it was made for. */
import { DiscordAPIError, RESTJSONErrorCodes } from "discord.js";

/**
 * `gone`: no retry will ever help (message or channel deleted, permission taken away, our mistake).
 * `expired`: an interaction's token has run out; the channel may still be written to.
 * `passing`: try again later; rate limits never get here, the library waits them out.
 */
export type Failure = "gone" | "expired" | "passing";

const expiredCodes: ReadonlySet<number | string> = new Set([
  RESTJSONErrorCodes.UnknownWebhook,
  RESTJSONErrorCodes.InvalidWebhookToken,
]);

export function classifyFailure(error: unknown): Failure {
  if (!(error instanceof DiscordAPIError)) return "passing";
  if (expiredCodes.has(error.code)) return "expired";
  // Without a code it is not Discord that speaks, but what stands before it.
  const isDiscords = typeof error.code === "number" && error.code > 0;
  return isDiscords && [400, 403, 404].includes(error.status) ? "gone" : "passing";
}

/** Discord's code, for the log: never the answer's text, which may quote the message. */
export function failureCode(error: unknown): string | number {
  if (error instanceof DiscordAPIError) return error.code;
  return error instanceof Error ? error.name : "unknown";
}
