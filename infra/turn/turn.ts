/**
 * The domain, pure: read this file first.
 *
 * A turn is one triggering message and the reply to it. It waits in its conversation's mailbox,
 * is answered by one worker at a time, and ends in exactly one reply record in the ledger.
 * This file imports nothing of ours but ids, does no input or output, and has no clock.
 */
import type { CommunityId, ConversationId, TurnId, UserId } from "./ids.ts";

/** Where a turn came from, and so how its reply is shown. */
export type Origin =
  | {
      /** A Discord message (mention, reply, DM); the reply is a message that refers to it. */
      readonly kind: "discord-message";
      readonly channelId: string;
      readonly messageId: string;
    }
  | {
      /** A slash command; the reply edits the deferred response, later parts are messages. */
      readonly kind: "discord-interaction";
      readonly channelId: string;
      readonly applicationId: string;
      readonly interactionToken: string;
    }
  | { readonly kind: "cli" };

/** How tokens of the reply are drawn; see `SampleOptions` in the numeric contract. */
export interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly penaltyDecay: number;
}

export interface Turn {
  readonly id: TurnId;
  readonly conversation: ConversationId;
  readonly community: CommunityId | null;
  readonly author: UserId;
  /** Normalised, capped, never empty; what the model is told. */
  readonly text: string;
  /** Language of errors and buttons: one of our locale codes. */
  readonly locale: string;
  readonly origin: Origin;
  /** Model the conversation runs on; names the wake queue. */
  readonly model: string;
  /** 0 for the first try; regenerate raises it, a crash replay keeps it. */
  readonly attempt: number;
  /** Unix ms at intake, for latency figures only: nothing is decided by it. */
  readonly receivedAtMs: number;
  /** Reply tokens at most. */
  readonly maxTokens: number;
  readonly sampling: Sampling;
}

/** Why a reply ended. Every reason but `failed` commits state. */
export type EndReason = "stop" | "length" | "stopped" | "deadline" | "failed";

/** The ledger's word on a turn. */
export interface ReplyRecord {
  readonly turn: TurnId;
  readonly attempt: number;
  readonly conversation: ConversationId;
  /** Who asked, and so who may have it answered again. */
  readonly author: UserId;
  /** Position of the turn in its conversation: 1, 2, 3, …; a turn answered again gets a new one. */
  readonly seq: number;
  readonly status: "committed" | "failed";
  readonly end: EndReason;
  readonly text: string;
  /** Error code when `status` is `failed`, else null. */
  readonly code: string | null;
  readonly promptTokens: number;
  readonly replyTokens: number;
  /** Tokens fed again to restore the state before this turn; 0 while a worker holds it. */
  readonly replayedTokens: number;
  readonly fence: number;
  readonly model: string;
  readonly numericClass: string;
  readonly locale: string;
  readonly origin: Origin;
  readonly committedAtMs: number;
  /** Model time of prompt and reply, ms. */
  readonly computeMs: number;
}

/** A turn is asked this often at most: its attempt is a part of the nonce, which is short. */
export const attemptsMax = 100;

/** Key of a reply record, of the sampler's seed and of the nonce. */
export interface TurnKey {
  readonly turn: TurnId;
  readonly attempt: number;
}

/** What the sampler is seeded with: a turn replayed in the same numeric class says the same. */
export function turnSeed(key: TurnKey): string {
  return `${key.turn}/${key.attempt}`;
}

/** A hint about an unfinished reply, worker → gateway. May be lost, repeated or reordered. */
export type LiveFrame =
  | {
      readonly kind: "text";
      readonly turn: TurnId;
      readonly attempt: number;
      readonly fence: number;
      /** UTF-16 offset of `text` in the reply; a reader that has less than `at` skips the frame. */
      readonly at: number;
      readonly text: string;
      readonly tokens: number;
    }
  /** The reply record is in the ledger: read it. `deleted`: the turn is, and there will be none. */
  | {
      readonly kind: "done";
      readonly turn: TurnId;
      readonly attempt: number;
      readonly deleted?: true;
    };

/** What goes before the reply's tokens; the state always ends right after `\n\n`. */
export function promptFor(text: string): string {
  return `User: ${text}\n\nAssistant:`;
}

/** The bytes that end a reply, for the detector and for closing the state. */
export const replyEnd = "\n\n";

/**
 * Makes a user's text safe to put between our own separators: NFC, `\r\n` → `\n`, blank lines
 * folded (a blank line would end the turn), control and bidi characters dropped, lone surrogates
 * replaced, trimmed. Never throws; may return the empty string.
 */
export function normaliseText(raw: string): string {
  return raw
    .toWellFormed()
    .normalize("NFC")
    .replace(/\r\n?/g, "\n")
    .replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g,
      "",
    )
    .replace(/[\t ]+\n/g, "\n")
    .replace(/\n(?:\s*\n)+/g, "\n")
    .trim();
}
