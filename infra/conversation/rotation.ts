/**
 * Going through every record of both Redis: which keys they are sealed with, sealing them anew with
 * the first key, and deleting what only a lost key could open.
 *
 * Runs beside the platform: a record is replaced only if it is still the one that was read, in one
 * atom. Stopped anywhere, what is done is done, and the next run goes on with the rest. A key leaves
 * the list of keys in use when a whole pass has found no record of it.
 */
import type { Redis } from "ioredis";
import { EyrieError } from "#infra/errors/error.ts";
import { earliest, speakerField, type SpeakerField, speakerOf } from "#infra/ledger/speakers.ts";
import { keyCount, keyPages } from "#infra/redis/address.ts";
import { keyIdOf } from "#infra/redis/keyring.ts";
import {
  conversationKeys,
  keysInUseKey,
  snapshotKeyParts,
  truthKeyParts,
} from "#infra/redis/keys.ts";
import { type Records, undamaged } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { openValue, sealedWith, sealValue, valueKind } from "./values.ts";

/** Each pass finds what moved under the one before; a busy conversation moves a few times a second. */
const passesMax = 20;

export interface Stores {
  readonly truth: ScriptedRedis;
  readonly state: ScriptedRedis;
  readonly records: Records;
}

/** Keys gone through, of those that there were at the start. */
export type Progress = (done: number, total: number) => void;

/** Records by the key that they are sealed with; `plain` for those in clear. */
export interface KeyUse {
  readonly byKey: ReadonlyMap<string, number>;
  readonly plain: number;
  /** Records that have rotted, so that no key opens them. */
  readonly damaged: number;
}

interface Found {
  /** Null for what a gateway holds. */
  readonly conversation: ConversationId | null;
  /** Null for a record in clear; `damaged` for one that does not say. */
  readonly keyId: string | null;
  readonly damaged: boolean;
  /** Seals it anew; false when it was changed meanwhile. */
  reseal(): Promise<boolean>;
  /** Deletes a gateway's record. */
  drop(): Promise<void>;
}

export async function keyUse(stores: Stores, progress: Progress = () => {}): Promise<KeyUse> {
  const byKey = new Map<string, number>();
  let [plain, damaged] = [0, 0];
  for await (const found of everyRecord(stores, progress)) {
    if (found.damaged) damaged++;
    else if (found.keyId === null) plain++;
    else byKey.set(found.keyId, (byKey.get(found.keyId) ?? 0) + 1);
  }
  // A key is in use before its first record is there: any other name of one is a rotten name.
  const ids = [...(stores.records.ring?.ids ?? []), ...(await stores.truth.smembers(keysInUseKey))];
  for (const [id, count] of [...byKey].filter(([one]) => !ids.includes(one))) {
    byKey.delete(id);
    damaged += count;
  }
  return { byKey, plain, damaged };
}

export interface Rotated {
  readonly resealed: number;
  /** Left as they are: nobody can open them. */
  readonly damaged: number;
  /** Keys that nothing is sealed with any more. */
  readonly retired: readonly string[];
}

/** Seals everything with the first key of the ring. */
export async function rotate(stores: Stores, progress: Progress = () => {}): Promise<Rotated> {
  const ring = stores.records.ring;
  if (ring === null) throw new EyrieError("KEYS_REQUIRED");
  let resealed = 0;
  for (let pass = 0; pass < passesMax; pass++) {
    const left = { damaged: 0, others: 0 };
    for await (const found of everyRecord(stores, progress)) {
      if (found.damaged) left.damaged++;
      if (found.damaged || found.keyId === ring.primary) continue;
      left.others++;
      const done = await undamaged(stores.truth, async () => found.reseal());
      if (done === true) resealed++;
      if (done !== null) continue;
      left.damaged++;
      left.others--;
    }
    if (left.others > 0) continue;
    const used = await stores.truth.smembers(keysInUseKey);
    const retired = used.filter((id) => id !== ring.primary).sort();
    if (retired.length > 0) await stores.truth.srem(keysInUseKey, ...retired);
    return { resealed, damaged: left.damaged, retired };
  }
  throw new EyrieError("BUSY_TRY_LATER");
}

/**
 * Deletes every conversation with a record that only the key `id` opens, by `remove`, and what a
 * gateway holds of that kind; returns the conversations' names.
 */
export async function forgetKey(
  stores: Stores,
  id: string,
  remove: (conversation: ConversationId) => Promise<unknown>,
): Promise<ConversationId[]> {
  const lost = new Set<ConversationId>();
  for await (const found of everyRecord(stores, () => {})) {
    if (found.keyId !== id) continue;
    if (found.conversation === null) await found.drop();
    else if (!lost.has(found.conversation)) await remove(found.conversation);
    if (found.conversation !== null) lost.add(found.conversation);
  }
  await stores.truth.srem(keysInUseKey, id);
  return [...lost].sort();
}

async function* everyRecord(stores: Stores, progress: Progress): AsyncGenerator<Found> {
  const { state, truth } = stores;
  const total = (await keyCount(truth)) + (await keyCount(state));
  let done = 0;
  progress(done, total);
  for await (const key of keysOf(truth)) {
    yield* truthRecords(stores, key);
    progress(Math.min(++done, total), total);
  }
  const snapshots = new SnapshotStore(state, stores.records);
  for await (const key of keysOf(state)) {
    const parts = snapshotKeyParts(key);
    if (parts !== null) {
      const { conversation, logHead } = parts;
      const first = await state.hgetBuffer(key, "0");
      if (first !== null) {
        yield {
          conversation,
          keyId: keyIdOf(first),
          damaged: false,
          reseal: async () => snapshots.reseal(conversation, logHead),
          drop: async () => snapshots.drop(conversation, [logHead]),
        };
      }
    }
    progress(Math.min(++done, total), total);
  }
}

async function* keysOf(redis: Redis): AsyncGenerator<string> {
  for await (const page of keyPages(redis, "*")) yield* page;
}

async function* truthRecords({ records, truth }: Stores, key: string): AsyncGenerator<Found> {
  const conversation = truthKeyParts(key)?.conversation ?? null;
  for (const { at, type, value } of await elementsOf(truth, key)) {
    const kind = valueKind(key, type === "hash" ? at : null);
    if (kind === null) continue;
    const reseal = async (): Promise<boolean> => {
      if (conversation !== null && kind.place.kind === "first turn") {
        return resealSpeaker({ records, truth }, conversation, { field: at, value });
      }
      const anew = sealValue(openValue(value, kind, records), kind, records);
      return (await truth.replaceValue(key, type, at, value, anew, at)) === 1;
    };
    const drop = async (): Promise<void> => void (await truth.hdel(key, at));
    yield { conversation, ...sealingOf(value, kind), reseal, drop };
  }
}

/**
 * The name of a person's field is of the first key, too; who has spoken since the keys changed has a
 * field of that name already, and the two become one.
 */
async function resealSpeaker(
  { records, truth }: Pick<Stores, "records" | "truth">,
  conversation: ConversationId,
  found: SpeakerField,
): Promise<boolean> {
  const { meta } = conversationKeys(conversation);
  const speaker = speakerOf(conversation, found, records);
  const { field } = speakerField(conversation, speaker, records);
  const there = field === found.field ? null : await truth.hgetBuffer(meta, field);
  const both = there === null ? [] : [speakerOf(conversation, { field, value: there }, records)];
  const [first = speaker] = earliest([speaker, ...both]);
  const { value: anew } = speakerField(conversation, first, records);
  const { field: from, value } = found;
  return (await truth.replaceValue(meta, "hash", from, value, anew, field, there ?? "")) === 1;
}

function sealingOf(
  value: Buffer,
  kind: NonNullable<ReturnType<typeof valueKind>>,
): Pick<Found, "keyId" | "damaged"> {
  try {
    return { keyId: sealedWith(value, kind), damaged: false };
  } catch (error) {
    if (error instanceof EyrieError) return { keyId: null, damaged: true };
    throw error;
  }
}

interface Element {
  readonly type: "string" | "list" | "hash";
  /** Index or field; "" for a string. */
  readonly at: string;
  readonly value: Buffer;
}

/** What a key holds that may be a record; nothing of the keys that hold none. */
async function elementsOf(truth: Redis, key: string): Promise<Element[]> {
  if (truthKeyParts(key) === null && !key.startsWith("eyrie:gateway:")) return [];
  switch (await truth.type(key)) {
    case "string": {
      const value = await truth.getBuffer(key);
      return value === null ? [] : [{ type: "string", at: "", value }];
    }
    case "list": {
      const values = await truth.lrangeBuffer(key, 0, -1);
      return values.map((value, index) => ({ type: "list", at: String(index), value }));
    }
    case "hash": {
      const fields = Object.entries(await truth.hgetallBuffer(key));
      return fields.map(([at, value]) => ({ type: "hash", at, value }));
    }
    default:
      return [];
  }
}
