/**
 * Deleting a conversation: afterwards neither Redis holds anything of it.
 *
 * Truth goes first, in one atom, so nothing can be committed or saved any more; what a worker writes
 * to the state Redis after that is never confirmed and vanishes by itself. A message that arrives
 * meanwhile begins the conversation anew and is answered from the empty state.
 */
import { orderStop } from "#infra/control/control.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { LivePublisher } from "#infra/live/live.ts";
import { type BucketKeys, type ConversationKeys, conversationKeys } from "#infra/redis/keys.ts";
import { redisTimeMs } from "#infra/redis/client.ts";
import type { Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import type { Mailbox } from "#infra/mailbox/mailbox.ts";
import type { ConversationId, Turn } from "#infra/turn/index.ts";
import type { WakeBell } from "#infra/wake/wake.ts";
import { outboxMembersOf, type StoredInTruth, storedInTruth, turnKeysOf } from "./stored.ts";

/** How often turns may come in or end while the keys are looked up. */
const triesMax = 50;

export interface DeleteParts {
  readonly truth: ScriptedRedis;
  readonly records: Records;
  readonly mailbox: Mailbox;
  readonly snapshots: SnapshotStore;
  readonly live: LivePublisher;
  readonly bell: Pick<WakeBell, "forget">;
}

export interface DeleteOptions {
  /** Leaves it alone if a turn came since this many ms ago, or comes while it is looked at. */
  readonly idleForMs?: number;
}

/** Returns the number of keys deleted from truth; 0 when there was nothing, or it was left alone. */
export async function deleteConversation(
  parts: DeleteParts,
  conversation: ConversationId,
  options: DeleteOptions = {},
): Promise<number> {
  const { bell, live, mailbox, snapshots, truth } = parts;
  const model = await truth.hget(conversationKeys(conversation).meta, "model");
  const waiting = await readable(mailbox.waiting(conversation));
  const deleted = await deleteFromTruth(parts, conversation, options);
  if (deleted === 0 && options.idleForMs !== undefined) return 0;
  await snapshots.dropAll(conversation);
  if (model !== null) await bell.forget(conversation, model);
  // A worker that is at one of them stops; whoever waits for the replies hears that there is nothing to
  // come.
  for (const { id: turn, attempt } of waiting) {
    await orderStop(truth, conversation, { turn, attempt });
    await live.publish(conversation, { kind: "done", turn, attempt, deleted: true });
  }
  return deleted;
}

/** A mailbox that has rotted is deleted too. */
async function readable(turns: Promise<Turn[]>): Promise<Turn[]> {
  try {
    return await turns;
  } catch (error) {
    if (error instanceof EyrieError) return [];
    throw error;
  }
}

async function deleteFromTruth(
  { records, truth }: DeleteParts,
  conversation: ConversationId,
  { idleForMs }: DeleteOptions,
): Promise<number> {
  const keys = conversationKeys(conversation);
  // Before the look at the clock: a turn that comes after it changes them.
  let expected = await seqs(truth, keys);
  if (idleForMs !== undefined && !(await isIdle(truth, conversation, idleForMs))) return 0;
  let deleted = 0;
  for (let tries = 0; tries < triesMax; tries++) {
    const stored = await storedInTruth(truth, conversation, records);
    if (isNothing(stored)) return deleted;
    const result = await deleteStored(truth, { conversation, stored, expected });
    for (const { key, field } of stored.inProgress) await truth.hdel(key, field);
    if (result >= 0) {
      deleted += result;
      // Look again for what was noted in between. A conversation that has begun anew is not ours.
      expected = ["0", "0"];
    } else if (deleted > 0 || idleForMs !== undefined) {
      return deleted;
    } else {
      expected = await seqs(truth, keys);
    }
  }
  throw new EyrieError("BUSY_TRY_LATER");
}

async function isIdle(
  truth: ScriptedRedis,
  conversation: ConversationId,
  forMs: number,
): Promise<boolean> {
  const activeAt = await truth.zscore(conversationKeys(conversation).active, conversation);
  return activeAt !== null && Number(activeAt) <= (await redisTimeMs(truth)) - forMs;
}

async function seqs(truth: ScriptedRedis, { meta }: ConversationKeys): Promise<[string, string]> {
  const [seq, committed] = await truth.hmget(meta, "seq", "committedSeq");
  return [seq ?? "0", committed ?? "0"];
}

function isNothing(stored: StoredInTruth): boolean {
  const { activeAtMs, dirty, keys, inProgress, outbox } = stored;
  const lists = keys.length + outbox.length + inProgress.length;
  return lists === 0 && !dirty && activeAtMs === null;
}

async function deleteStored(
  truth: ScriptedRedis,
  work: {
    readonly conversation: ConversationId;
    readonly stored: StoredInTruth;
    readonly expected: readonly [string, string];
  },
): Promise<number> {
  const { conversation, expected, stored } = work;
  const keys: ConversationKeys & BucketKeys = conversationKeys(conversation);
  const first = [keys.meta, keys.mailbox, keys.dirty, keys.outbox, keys.active];
  // A reply that is being delivered may get notes of its messages just now.
  const attempts = turnKeysOf(conversation, stored.keys);
  const notes = attempts.flatMap((key) => [keys.reply(key), keys.delivery(key)]);
  const others = new Set([...stored.keys, ...notes, keys.lease, keys.log, keys.turns, keys.last]);
  for (const key of first) others.delete(key);
  const all = [...first, ...others];
  return truth.deleteConversation(
    all.length,
    ...all,
    conversation,
    ...expected,
    ...outboxMembersOf(conversation, stored),
  );
}
