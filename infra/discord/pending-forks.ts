/**
 * The forks that the gateway has begun and not finished, in truth: whoever is killed between the
 * steps of one leaves enough behind for the next process to finish it, or to take it back.
 */
import type { Redis } from "ioredis";
import { forksKey } from "#infra/redis/keys.ts";
import { decodeRecord, encodeRecord } from "#infra/redis/record.ts";
import type { ConversationId } from "#infra/turn/index.ts";

export interface PendingFork {
  /** The interaction that asked for it. */
  readonly operation: string;
  readonly source: ConversationId;
  /** Where the source is, and where the thread begins. */
  readonly channelId: string;
  readonly title: string;
  readonly locale: string;
  /** The message that the thread hangs on, and whose id it takes; null until it stands there. */
  readonly anchorId: string | null;
}

export class PendingForks {
  readonly #truth: Redis;
  readonly #key: string;

  constructor(truth: Redis, applicationId: string) {
    this.#truth = truth;
    this.#key = forksKey(applicationId);
  }

  async save(fork: PendingFork): Promise<void> {
    await this.#truth.hset(this.#key, fork.operation, encodeRecord(fork));
  }

  async remove(operation: string): Promise<void> {
    await this.#truth.hdel(this.#key, operation);
  }

  async find(operation: string): Promise<PendingFork | null> {
    const record = await this.#truth.hget(this.#key, operation);
    return record === null ? null : (decodeRecord(record, "pending fork") as PendingFork);
  }

  async all(): Promise<PendingFork[]> {
    const records = await this.#truth.hvals(this.#key);
    return records.map((record) => decodeRecord(record, "pending fork") as PendingFork);
  }
}
