/**
 * The one way a turn gets into the house: mailbox, bell, render.
 *
 * Promises: accepted means that the turn is in truth and will be answered or failed by name; the
 * same turn again changes nothing. Killed after the append → Discord replays the event and the turn
 * is known; killed before the wake → the sweeper rings. What a failover of truth takes back is put in
 * again, see `tail.ts`.
 */
import type { Clock } from "#infra/clock/clock.ts";
import type { ModelCard } from "#infra/config/model-card.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import type { Appended, Mailbox } from "#infra/mailbox/mailbox.ts";
import { isClosed } from "#infra/redis/client.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import {
  communityId,
  type ConversationId,
  conversationId,
  type Origin,
  type Turn,
  turnId,
  userId,
} from "#infra/turn/index.ts";
import type { WakeBell } from "#infra/wake/wake.ts";
import type { GatewayMetrics } from "../metrics.ts";
import type { Renders } from "../render/renders.ts";
import type { Lanes } from "./lanes.ts";
import type { Tail } from "./tail.ts";

const putBackAgainMs = 1_000;

/** What an event says, before it is a turn. */
export interface Question {
  /** Of the message or the interaction. */
  readonly id: string;
  readonly channelId: string;
  readonly communityId: string | undefined;
  readonly authorId: string;
  readonly text: string;
  readonly locale: string;
  readonly origin: Origin;
}

export type Submitted =
  | { readonly kind: "accepted" }
  | { readonly kind: "refused"; readonly code: ErrorCode };

export interface SubmitParts {
  readonly mailbox: Mailbox;
  readonly ledger: Ledger;
  readonly bell: Pick<WakeBell, "ring">;
  readonly lanes: Lanes;
  readonly tail: Tail;
  readonly renders: Renders;
  readonly model: ModelCard;
  readonly replyTokensMax: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: GatewayMetrics;
}

/** Threads are channels of their own, so each has its own conversation. */
export function conversationOf(channelId: string): ConversationId {
  return conversationId(`discord-${channelId}`);
}

/** Questions of one channel are queued in the order of the calls. */
export async function submit(question: Question, parts: SubmitParts): Promise<Submitted> {
  const turn = turnFor(question, parts);
  return parts.lanes.run(turn.conversation, async () => submitInTurn(turn, parts));
}

/**
 * Turns of the last minute that truth lost with its master are queued again. `isNewest` is false once
 * another run has begun, which sees to all of them.
 */
export async function putBack(parts: SubmitParts, isNewest: () => boolean): Promise<void> {
  const { clock, lanes, tail } = parts;
  let left = tail.turns();
  while (left.length > 0 && isNewest()) {
    const refused = await Promise.all(
      left.map(async (turn) => lanes.run(turn.conversation, async () => putBackOne(turn, parts))),
    );
    left = left.filter((turn, index) => refused[index] === true && tail.has(turn.id));
    // A new master may have no replica yet, and take nothing until it has one.
    if (left.length > 0) await clock.sleep(putBackAgainMs);
  }
}

/** True when truth takes no writes now. */
async function putBackOne(turn: Turn, parts: SubmitParts): Promise<boolean> {
  // Deleted while it waited for its lane.
  if (!parts.tail.has(turn.id)) return false;
  const appended = await parts.mailbox.append(turn);
  if (appended.kind !== "appended") return appended.kind === "refused";
  parts.metrics.putBack.inc();
  parts.log.warn("a lost turn is queued again", { turn: turn.id });
  await parts.renders.reopen(turn);
  await ring(turn, parts);
  return false;
}

async function submitInTurn(turn: Turn, parts: SubmitParts): Promise<Submitted> {
  const { log, mailbox, metrics, renders, tail } = parts;
  let appended: Appended;
  try {
    appended = await mailbox.append(turn);
  } catch (error) {
    // Cut off by our own end: the next process is told of it again.
    if (isClosed(error)) throw error;
    log.error("turn not queued", { turn: turn.id, ...errorFields(error) });
    return refuse("BUSY_TRY_LATER", metrics);
  }
  if (appended.kind === "refused") {
    log.error("truth refused a turn", { turn: turn.id, reason: appended.reason });
    return refuse("BUSY_TRY_LATER", metrics);
  }
  if (appended.kind === "full") return refuse("MAILBOX_FULL", metrics);
  if (appended.kind === "known") {
    // Told twice. One that waits no more was answered (the outbox knows), asked again, or taken back.
    const waiting = await mailbox.waiting(turn.conversation);
    const waits = waiting.some(({ attempt, id }) => id === turn.id && attempt === turn.attempt);
    if (!waits) return { kind: "accepted" };
  } else {
    tail.note(turn);
    metrics.turns.inc();
    log.info("turn queued", { turn: turn.id, conversation: turn.conversation });
  }
  // Side by side: should the answer be first, the outbox tells of it.
  await Promise.all([renders.open(turn), ring(turn, parts)]);
  return { kind: "accepted" };
}

function turnFor(question: Question, parts: SubmitParts): Turn {
  return {
    id: turnId(question.id),
    conversation: conversationOf(question.channelId),
    community: question.communityId === undefined ? null : communityId(question.communityId),
    author: userId(question.authorId),
    text: question.text,
    locale: question.locale,
    origin: question.origin,
    model: parts.model.name,
    attempt: 0,
    receivedAtMs: parts.clock.nowMs(),
    maxTokens: parts.replyTokensMax,
    sampling: parts.model.sampling,
  };
}

/** A bell that cannot be rung is rung by the sweeper. */
export async function ring(
  turn: Turn,
  { bell, log }: Pick<SubmitParts, "bell" | "log">,
): Promise<void> {
  const { conversation, id, model } = turn;
  try {
    await bell.ring({ conversation, headTurnId: id, model, traceId: id });
  } catch (error) {
    log.warn("wake not rung; the sweeper will", { turn: id, ...errorFields(error) });
  }
}

function refuse(code: ErrorCode, metrics: GatewayMetrics): Submitted {
  metrics.refused.inc({ code });
  return { kind: "refused", code };
}
