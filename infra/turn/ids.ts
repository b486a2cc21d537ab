/**
 * Branded ids. Discord's snowflakes are strings of digits and never become `number`.
 *
 * Conversation ids are `<realm>-<id>`: `discord-<channel id>` or `cli-<name>`; turn ids are Discord
 * message or interaction ids, or a snowflake made by {@link snowflake} for the command line.
 */
import assert from "node:assert/strict";

declare const brand: unique symbol;
type Branded<T extends string> = string & { readonly [brand]: T };

export type ConversationId = Branded<"conversation">;
export type TurnId = Branded<"turn">;
export type CommunityId = Branded<"community">;
export type UserId = Branded<"user">;

const conversationPattern = /^[a-z]{2,16}-[A-Za-z0-9._-]{1,64}$/;
/** As Discord writes them: a number, so without zeros in front. */
const turnPattern = /^(?:0|[1-9][0-9]{0,19})$/;

export function isConversationId(text: string): text is ConversationId {
  return conversationPattern.test(text);
}

export function conversationId(text: string): ConversationId {
  assert(isConversationId(text), `not a conversation id: ${JSON.stringify(text)}`);
  return text;
}

export function turnId(text: string): TurnId {
  assert(turnPattern.test(text), `not a turn id: ${JSON.stringify(text)}`);
  return text as TurnId;
}

export function communityId(text: string): CommunityId {
  assert(turnPattern.test(text), `not a community id: ${JSON.stringify(text)}`);
  return text as CommunityId;
}

export function isUserId(text: string): text is UserId {
  return turnPattern.test(text);
}

export function userId(text: string): UserId {
  assert(turnPattern.test(text), `not a user id: ${JSON.stringify(text)}`);
  return text as UserId;
}

/** Start of Discord's clock: 2015-01-01T00:00:00Z, in ms. */
const discordEpochMs = 1_420_070_400_000n;

/** A snowflake for a turn that did not come from Discord: 42 bits of time, 22 of randomness. */
export function snowflake(nowMs: number, random22: number): TurnId {
  assert(Number.isInteger(random22) && random22 >= 0 && random22 < 2 ** 22);
  return turnId((((BigInt(nowMs) - discordEpochMs) << 22n) | BigInt(random22)).toString());
}
