/**
 * Ending a turn whose mailbox entry has rotted. Nobody can answer it, so it fails by name at its first
 * claim: it takes no second one, and no innocent waits for it.
 */
import type { Clock } from "#infra/clock/clock.ts";
import type { EyrieError } from "#infra/errors/error.ts";
import { fallbackLocale } from "#infra/i18n/i18n.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import type { DamagedHead } from "#infra/mailbox/damaged.ts";
import type { Mailbox } from "#infra/mailbox/mailbox.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import {
  type ConversationId,
  type Origin,
  type ReplyRecord,
  type TurnId,
  userId,
} from "#infra/turn/index.ts";
import type { Wake, WakeBell } from "#infra/wake/wake.ts";

/** Who asked what nobody can read. */
const nobody = userId("0");

export interface DamagedParts {
  readonly numericClass: string;
  readonly mailbox: Mailbox;
  readonly ledger: Ledger;
  readonly bell: Pick<WakeBell, "ring">;
  readonly clock: Clock;
  readonly log: Log;
}

export async function endDamaged(
  parts: DamagedParts,
  wake: Wake,
  { error, head }: { readonly head: DamagedHead; readonly error: EyrieError },
): Promise<void> {
  const { bell, ledger, log, mailbox } = parts;
  const { conversation, key } = head;
  log.error("mailbox entry refused", {
    conversation,
    turn: key?.turn ?? null,
    ...errorFields(error),
  });
  await ledger.endDamaged(head, head.entry, recordOf(parts, wake, head));
  const left = await mailbox.release(head, { forgive: false });
  if (left !== null && left > 0) await bell.ring({ ...wake, headTurnId: "" });
}

/** Null when there is no telling which turn it was. */
function recordOf(
  { clock, numericClass }: DamagedParts,
  { model }: Wake,
  { conversation, fence, key, seq, turn }: DamagedHead,
): ReplyRecord | null {
  if (key === null) return null;
  return {
    ...key,
    conversation,
    author: turn?.author ?? nobody,
    seq,
    status: "failed",
    end: "failed",
    text: "",
    code: "RECORD_CORRUPT",
    promptTokens: 0,
    replyTokens: 0,
    replayedTokens: 0,
    fence,
    model,
    numericClass,
    locale: turn?.locale ?? fallbackLocale,
    origin: turn?.origin ?? originIn(conversation, key.turn),
    committedAtMs: clock.nowMs(),
    computeMs: 0,
  };
}

/** A conversation in Discord is named after its channel, and a turn there after its message. */
function originIn(conversation: ConversationId, turn: TurnId): Origin {
  const [, channelId] = /^discord-(\d+)$/.exec(conversation) ?? [];
  if (channelId === undefined) return { kind: "cli" };
  return { kind: "discord-message", channelId, messageId: turn };
}
