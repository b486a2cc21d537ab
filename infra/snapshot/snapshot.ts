/**
 * Packed states of conversations, in chunks, on the state Redis.
 *
 * A snapshot is only a cache of a pure function of (model, token log): it is named by the log head
 * it stands at, verified when it is read, and may vanish at any time. The newest and the one before
 * are kept. Chunks are written before the index names them, so a crash leaves at worst an orphan
 * that the next write of the same conversation removes.
 */
import type { Redis } from "ioredis";
import { snapshotIndexKey, snapshotKey } from "#infra/redis/keys.ts";
import type { ConversationId } from "#infra/turn/index.ts";

/** One Redis command moves at most this, so a big state never blocks small commands for long. */
export const chunkBytesMax = 256 * 1024;
export const snapshotsKept = 2;

export class SnapshotStore {
  readonly #state: Redis;

  constructor(state: Redis) {
    this.#state = state;
  }

  /**
   * Stores `packed` as the state at `logHead`; returns the heads that are kept, newest first.
   * Newest means furthest in the log, not last written: a worker that saves what it held long ago
   * must not push out what the conversation needs.
   */
  async write(
    conversation: ConversationId,
    logHead: string,
    packed: Uint8Array,
  ): Promise<string[]> {
    const key = snapshotKey(conversation, logHead);
    const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
    await this.#state.del(key);
    for (let chunk = 0; chunk * chunkBytesMax < bytes.length; chunk++) {
      const start = chunk * chunkBytesMax;
      await this.#state.hset(key, String(chunk), bytes.subarray(start, start + chunkBytesMax));
    }
    const index = snapshotIndexKey(conversation);
    await this.#state.zadd(index, order(logHead), logHead);
    const heads = await this.heads(conversation);
    for (const head of heads.slice(snapshotsKept)) {
      await this.#state.del(snapshotKey(conversation, head));
      await this.#state.zrem(index, head);
    }
    return heads.slice(0, snapshotsKept);
  }

  /** Log heads of the kept snapshots, newest first. */
  async heads(conversation: ConversationId): Promise<string[]> {
    return this.#state.zrevrange(snapshotIndexKey(conversation), 0, -1);
  }

  /** The packed bytes, to be unpacked and verified by the caller; null when they are gone. */
  async read(conversation: ConversationId, logHead: string): Promise<Buffer | null> {
    const chunks = await this.#state.hgetallBuffer(snapshotKey(conversation, logHead));
    const ordered = Object.entries(chunks).sort(([a], [b]) => Number(a) - Number(b));
    if (ordered.length === 0) return null;
    return Buffer.concat(ordered.map(([, chunk]) => chunk));
  }
}

/** `<epoch>:<tokens>:<crc>` as a number that grows with the log; exact up to 2^40 tokens. */
function order(logHead: string): number {
  const [epoch = "0", tokens = "0"] = logHead.split(":");
  return Number(epoch) * 2 ** 40 + Number(tokens);
}
