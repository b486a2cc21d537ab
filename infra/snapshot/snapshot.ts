/**
 * Packed states of conversations, in chunks, on the state Redis.
 *
 * A snapshot is only a cache of a pure function of (model, token log): it is named by the log head
 * it stands at, verified when it is read, and may vanish at any time. What is written lives for a
 * minute; `confirm`, called after truth said that the conversation still stands at that head, makes
 * it stay. So neither a crash nor a write that overtakes a deletion leaves anything behind.
 *
 * Kept are the newest; the newest at or before the horizon, the place to which turns can be taken
 * back; and the oldest behind the horizon, which it will reach next. (Were that one always the one
 * before the newest, the horizon would never reach any, and the log never be trimmed.) The one before
 * the horizon is what an undo begins from when the log is trimmed to it: so it is made to stay, read and
 * checked before it takes the place of an older one. Only who holds the conversation's lease may prune:
 * another one's picture of the log may be old.
 */
import { EyrieError } from "#infra/errors/error.ts";
import { isCluster, scanKeys } from "#infra/redis/address.ts";
import { snapshotIndexKey, snapshotKey } from "#infra/redis/keys.ts";
import { snapshotPlace } from "#infra/redis/places.ts";
import { plainRecords, type Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { ConversationId } from "#infra/turn/index.ts";

/** One Redis command moves at most this, so a big state never blocks small commands for long. */
export const chunkBytesMax = 256 * 1024;
/** A snapshot that nobody confirms is gone after this. */
export const unconfirmedSeconds = 60;

/** What lies on the log, so that a snapshot elsewhere can be told from one that is needed. */
export interface LogPicture {
  /** Every head on the kept log. */
  readonly heads: ReadonlySet<string>;
  /** Tokens before the oldest turn that can be taken back. */
  readonly horizonTokens: number;
  /** Head where the kept log begins: a snapshot there has no older one to fall back on. */
  readonly start: string;
}

/** Whether packed bytes are the state at that head. */
export type IsSound = (logHead: string, packed: Uint8Array) => boolean;

export class SnapshotStore {
  readonly #state: ScriptedRedis;
  readonly #records: Records;

  constructor(state: ScriptedRedis, records: Records = plainRecords) {
    this.#state = state;
    this.#records = records;
  }

  /** Stores `packed` as the state at `logHead`, to be confirmed. */
  async write(conversation: ConversationId, logHead: string, packed: Uint8Array): Promise<void> {
    const key = snapshotKey(conversation, logHead);
    // Equal heads mean equal states: one that is confirmed stays untouched.
    if ((await this.#state.ttl(key)) === -1) return;
    await this.#put(key, this.#sealed(conversation, logHead, packed));
    await this.#name(conversation, logHead);
  }

  #sealed(conversation: ConversationId, logHead: string, packed: Uint8Array): Buffer {
    const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
    return this.#records.seal(bytes, snapshotPlace(conversation, logHead));
  }

  /** In chunks, to be confirmed. */
  async #put(key: string, bytes: Buffer): Promise<void> {
    await this.#state.del(key);
    for (let chunk = 0; chunk * chunkBytesMax < bytes.length; chunk++) {
      const start = chunk * chunkBytesMax;
      const part = bytes.subarray(start, start + chunkBytesMax);
      await this.#state
        .multi()
        .hset(key, String(chunk), part)
        .expire(key, unconfirmedSeconds)
        .exec();
    }
  }

  /** Makes a snapshot stay. Nothing is created: what was dropped meanwhile stays dropped. */
  async confirm(conversation: ConversationId, logHead: string): Promise<void> {
    await this.#state
      .multi()
      .persist(snapshotKey(conversation, logHead))
      .persist(snapshotIndexKey(conversation))
      .exec();
  }

  /**
   * Removes what is not worth keeping; returns the heads that are kept, newest first. Newest means
   * furthest in the log, not last written. The one behind the horizon is sound, or the log begins there.
   */
  async prune(conversation: ConversationId, log: LogPicture, isSound: IsSound): Promise<string[]> {
    const heads = await this.heads(conversation);
    const present = await this.#present(conversation, heads);
    const useful = present.filter((head) => log.heads.has(head));
    // One whose worker died before it could confirm it is as good as the others.
    await Promise.all(useful.map(async (head) => this.confirm(conversation, head)));
    const behind = useful.filter((head) => tokensOf(head) <= log.horizonTokens);
    const reachable = await this.#firstSound(conversation, behind, { isSound, last: log.start });
    const next = useful.findLast((head) => tokensOf(head) > log.horizonTokens);
    const [newest] = useful;
    const kept = useful.filter((head) => [newest, reachable, next].includes(head));
    await this.drop(
      conversation,
      heads.filter((head) => !kept.includes(head)),
    );
    return kept;
  }

  /** The first of them that is there and sound, or `last`, which is not asked. */
  async #firstSound(
    conversation: ConversationId,
    heads: readonly string[],
    { isSound, last }: { readonly isSound: IsSound; readonly last: string },
  ): Promise<string | null> {
    for (const head of heads) {
      if (head === last) return head;
      const packed = await this.#opened(conversation, head);
      if (packed !== null && isSound(head, packed)) return head;
    }
    return null;
  }

  /** Null for one that is gone or does not open. */
  async #opened(conversation: ConversationId, logHead: string): Promise<Buffer | null> {
    try {
      return await this.read(conversation, logHead);
    } catch (error) {
      if (error instanceof EyrieError) return null;
      throw error;
    }
  }

  async drop(conversation: ConversationId, heads: readonly string[]): Promise<void> {
    if (heads.length === 0) return;
    const index = snapshotIndexKey(conversation);
    await this.#state.zrem(index, ...heads);
    for (const head of heads) await this.#state.unlink(snapshotKey(conversation, head));
  }

  /** Drops every snapshot of the conversation, of all its epochs. */
  async dropAll(conversation: ConversationId): Promise<void> {
    await this.drop(conversation, await this.heads(conversation));
    // One whose name is not there yet: its worker is still writing, or has died.
    for (const key of await scanKeys(this.#state, snapshotKey(conversation, "*"))) {
      await this.#state.unlink(key);
    }
  }

  /** Log heads of the snapshots, newest first. */
  async heads(conversation: ConversationId): Promise<string[]> {
    return this.#state.zrevrange(snapshotIndexKey(conversation), 0, -1);
  }

  /**
   * The packed bytes, to be unpacked and verified by the caller; null when they are gone. Sealed ones
   * that do not open are RECORD_CORRUPT or KEY_MISSING.
   */
  async read(conversation: ConversationId, logHead: string): Promise<Buffer | null> {
    const stored = await this.#get(snapshotKey(conversation, logHead));
    return stored === null
      ? null
      : this.#records.open(stored, snapshotPlace(conversation, logHead));
  }

  async #get(key: string): Promise<Buffer | null> {
    const chunks = await this.#state.hgetallBuffer(key);
    const ordered = Object.entries(chunks).sort(([a], [b]) => Number(a) - Number(b));
    if (ordered.length === 0) return null;
    return Buffer.concat(ordered.map(([, chunk]) => chunk));
  }

  /**
   * Gives `to` the snapshots of `from` at `heads`, to be confirmed; returns those that could be copied.
   * What the source needs is not touched, nor what `to` has. Plain ones do not pass through this
   * process; sealed ones open at one place only, so they are sealed anew.
   */
  async copy(
    from: ConversationId,
    to: ConversationId,
    heads: readonly string[],
  ): Promise<string[]> {
    const copied: string[] = [];
    for (const head of heads) {
      const has = (await this.#state.ttl(snapshotKey(to, head))) === -1;
      if (!has && !(await this.#copyOne(from, to, head))) continue;
      await this.#name(to, head);
      copied.push(head);
    }
    return copied;
  }

  /** Seals a snapshot anew; false when it is gone. What is written is gone in a minute if not used. */
  async reseal(conversation: ConversationId, logHead: string): Promise<boolean> {
    const packed = await this.read(conversation, logHead);
    if (packed === null) return false;
    const key = snapshotKey(conversation, logHead);
    const made = `${key}:resealed`;
    await this.#put(made, this.#sealed(conversation, logHead, packed));
    return (await this.#state.replaceSnapshot(key, made)) === 1;
  }

  /**
   * In one atom where one server has both and nothing is sealed to its place; else through our hands.
   */
  async #copyOne(from: ConversationId, to: ConversationId, head: string): Promise<boolean> {
    const target = snapshotKey(to, head);
    if (this.#records.ring === null && !isCluster(this.#state)) {
      const [copied] =
        (await this.#state
          .multi()
          .copy(snapshotKey(from, head), target, "REPLACE")
          .expire(target, unconfirmedSeconds)
          .exec()) ?? [];
      return copied?.[1] === 1;
    }
    const packed = await this.read(from, head);
    if (packed === null) return false;
    await this.#put(target, this.#sealed(to, head, packed));
    return true;
  }

  async #name(conversation: ConversationId, logHead: string): Promise<void> {
    const index = snapshotIndexKey(conversation);
    await this.#state.nameSnapshot(index, order(logHead), logHead, unconfirmedSeconds);
  }

  /** Those of them that are there, newest first. */
  async present(conversation: ConversationId): Promise<string[]> {
    return this.#present(conversation, await this.heads(conversation));
  }

  async #present(conversation: ConversationId, heads: readonly string[]): Promise<string[]> {
    const found = await Promise.all(
      heads.map(async (head) => this.#state.exists(snapshotKey(conversation, head))),
    );
    return heads.filter((_, index) => found[index] === 1);
  }
}

/** `<epoch>:<tokens>:<crc>` as a number that grows with the log; exact up to 2^40 tokens. */
function order(logHead: string): number {
  const [epoch = "0", tokens = "0"] = logHead.split(":");
  return Number(epoch) * 2 ** 40 + Number(tokens);
}

function tokensOf(logHead: string): number {
  return Number(logHead.split(":")[1] ?? 0);
}
