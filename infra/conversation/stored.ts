/**
 * Where everything of one conversation lies: the names that both Redis hold of it, found by looking,
 * not by remembering, so that export and delete cannot overlook what a newer room began to store.
 */
import type { Redis } from "ioredis";
import type { Place } from "#infra/redis/keyring.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { scanKeys } from "#infra/redis/address.ts";
import {
  bucketOf,
  bucketKeys,
  conversationKeys,
  conversationPattern,
  forksPattern,
  openRepliesPattern,
  outboxMember,
  snapshotIndexKey,
  snapshotKey,
} from "#infra/redis/keys.ts";
import { forkPlace, openReplyPlace } from "#infra/redis/places.ts";
import type { Records } from "#infra/redis/records.ts";
import { type ConversationId, type TurnKey, turnId, type UserId } from "#infra/turn/index.ts";

export interface StoredInTruth {
  /** Keys that belong to the conversation alone, sorted. */
  readonly keys: readonly string[];
  /** Its members of its bucket's outbox. */
  readonly outbox: readonly string[];
  /** It has mail, says its bucket. */
  readonly dirty: boolean;
  /** Unix ms of its last turn, says its bucket; null: the bucket does not know it. */
  readonly activeAtMs: number | null;
  /** What a gateway is doing with it: replies being shown, forks being made. */
  readonly inProgress: readonly { readonly key: string; readonly field: string }[];
}

const pageSize = 1_000;

export async function storedInTruth(
  truth: Redis,
  conversation: ConversationId,
  records: Records,
): Promise<StoredInTruth> {
  const { active, dirty, outbox } = bucketKeys(bucketOf(conversation));
  const members = `${conversation} *`;
  const inProgress: { key: string; field: string }[] = [];
  for (const key of await scanKeys(truth, openRepliesPattern)) {
    const fields = truth.hscanStream(key, { match: members, count: pageSize });
    for await (const page of fields) {
      inProgress.push(...everySecond(page as string[]).map((field) => ({ key, field })));
    }
  }
  for (const key of await scanKeys(truth, forksPattern)) {
    for (const [field, record] of Object.entries(await truth.hgetall(key))) {
      if (inRecord(record, forkPlace(key, field), records)?.source === conversation) {
        inProgress.push({ key, field });
      }
    }
  }
  const found: string[] = [];
  for await (const page of truth.zscanStream(outbox, { match: members, count: pageSize })) {
    found.push(...everySecond(page as string[]));
  }
  const activeAt = await truth.zscore(active, conversation);
  return {
    keys: await scanKeys(truth, conversationPattern(conversation)),
    outbox: [...new Set(found)].sort(),
    dirty: (await truth.zscore(dirty, conversation)) !== null,
    activeAtMs: activeAt === null ? null : Number(activeAt),
    inProgress,
  };
}

/** Those of them that a person has asked for. */
export async function ofUser(
  truth: Redis,
  inProgress: StoredInTruth["inProgress"],
  { records, user }: { readonly records: Records; readonly user: UserId },
): Promise<StoredInTruth["inProgress"]> {
  const theirs: { key: string; field: string }[] = [];
  for (const { key, field } of inProgress) {
    const record = await truth.hget(key, field);
    const place = key.endsWith(":forks") ? forkPlace(key, field) : openReplyPlace(key, field);
    const author = record === null ? null : inRecord(record, place, records)?.author;
    if (author === user) theirs.push({ key, field });
  }
  return theirs;
}

/** Null for a record that has rotted: whose it was, nobody can tell. */
function inRecord(
  record: string,
  place: Place,
  records: Records,
): { readonly source?: string; readonly author?: string } | null {
  try {
    return records.decode(record, place) as { readonly source?: string; readonly author?: string };
  } catch (error) {
    if (error instanceof EyrieError) return null;
    throw error;
  }
}

/** Keys on the state Redis, sorted: the index of snapshots and each of them. */
export async function storedInState(state: Redis, conversation: ConversationId): Promise<string[]> {
  const index = snapshotIndexKey(conversation);
  const snapshots = await scanKeys(state, snapshotKey(conversation, "*"));
  return (await state.exists(index)) === 1 ? [index, ...snapshots] : snapshots;
}

/** The attempts that the names speak of. */
export function turnKeysOf(conversation: ConversationId, keys: readonly string[]): TurnKey[] {
  const prefix = conversationKeys(conversation).meta.replace(/meta$/, "");
  return keys.flatMap((key) => {
    const match = /^(?:reply|delivery):(\d+):(\d+)$/.exec(key.slice(prefix.length));
    return match === null ? [] : [{ turn: turnId(match[1] ?? ""), attempt: Number(match[2]) }];
  });
}

/** Outbox members that a conversation has, or that its attempts would have. */
export function outboxMembersOf(conversation: ConversationId, stored: StoredInTruth): string[] {
  const attempts = turnKeysOf(conversation, stored.keys);
  const members = attempts.map((key) => outboxMember(conversation, key));
  return [...new Set([...stored.outbox, ...members])];
}

/** Members or fields without their scores or values. */
function everySecond(page: readonly string[]): string[] {
  return page.filter((_, index) => index % 2 === 0);
}
