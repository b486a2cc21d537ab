/**
 * The forks that the gateway has begun and not finished, in truth: whoever is killed between the
 * steps of one leaves enough behind for the next process to finish it, or to take it back.
 */
import type { Redis } from "ioredis";
import type { EyrieError } from "#infra/errors/error.ts";
import { forksKey } from "#infra/redis/keys.ts";
import { forkPlace } from "#infra/redis/places.ts";
import { plainRecords, readableOf, type Records } from "#infra/redis/records.ts";
import type { ConversationId, UserId } from "#infra/turn/index.ts";

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
  /** Who asked for it; not in the records of older versions. */
  readonly author?: UserId;
}

export class PendingForks {
  readonly #truth: Redis;
  readonly #key: string;
  readonly #records: Records;

  constructor(truth: Redis, applicationId: string, records: Records = plainRecords) {
    this.#truth = truth;
    this.#records = records;
    this.#key = forksKey(applicationId);
  }

  async save(fork: PendingFork): Promise<void> {
    const place = forkPlace(this.#key, fork.operation);
    await this.#truth.hset(this.#key, fork.operation, this.#records.encode(fork, place));
  }

  async remove(operation: string): Promise<void> {
    await this.#truth.hdel(this.#key, operation);
  }

  async find(operation: string): Promise<PendingFork | null> {
    const record = await this.#truth.hget(this.#key, operation);
    return record === null ? null : this.#decode(operation, record);
  }

  /** Passes over records that have rotted, and tells of each. */
  async all(refused: (error: EyrieError) => void): Promise<PendingFork[]> {
    const records = await this.#truth.hgetall(this.#key);
    return readableOf(Object.entries(records), refused, ([operation, record]) =>
      this.#decode(operation, record),
    );
  }

  #decode(operation: string, record: string): PendingFork {
    return this.#records.decode(record, forkPlace(this.#key, operation)) as PendingFork;
  }
}
