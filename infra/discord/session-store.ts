/**
 * The gateway session of each shard, kept in truth so that a new process can RESUME.
 *
 * Promise: the stored sequence never passes an event that is not handled. The library advances its
 * sequence when an event arrives, before anybody has seen it; a process that dies then would never
 * be told again. So two numbers are kept: what arrived (for reconnecting in this process, whose
 * unhandled events are still in memory) and, in Redis, the event before the oldest unhandled one.
 * What is told twice is harmless, because a turn id enters a mailbox once.
 *
 * A session that Discord has forgotten cannot be resumed. For that case the newest message is kept
 * before which every event was handled: what came after it can be looked up, see `missedSince`.
 */
import type { Redis } from "ioredis";
import { type Clock, over } from "#infra/clock/clock.ts";
import { gatewaySessionKey } from "#infra/redis/keys.ts";
import { decodeRecord, encodeRecord } from "#infra/redis/record.ts";

/** Between two writes of a shard: with ten events in it, nine of them were of no use. */
const writeIntervalMs = 100;

/** As `@discordjs/ws` hands it over. */
export interface ShardSession {
  readonly sessionId: string;
  readonly sequence: number;
  readonly resumeURL: string;
  readonly shardId: number;
  readonly shardCount: number;
}

/** What is stored; without a session between its end and the next one's beginning. */
type StoredShard = Partial<ShardSession> & {
  /** Id of the newest message before which, and which itself, nothing is unhandled. */
  readonly handledId?: string;
};

export interface SessionStoreOptions {
  readonly applicationId: string;
  readonly clock: Clock;
  /** Told when a write fails (the next one is tried all the same) or a record is refused. */
  readonly onError: (error: unknown) => void;
}

export class SessionStore {
  readonly #truth: Redis;
  readonly #options: SessionStoreOptions;
  readonly #shards = new Map<number, ShardProgress>();
  readonly #flushing = new AbortController();
  #frozen = false;

  constructor(truth: Redis, options: SessionStoreOptions) {
    this.#truth = truth;
    this.#options = options;
  }

  /** For `retrieveSessionInfo`: memory first, Redis once per shard. */
  async retrieve(shardId: number): Promise<ShardSession | null> {
    const progress = this.#shards.get(shardId);
    if (progress !== undefined) return progress.session;
    const { handledId = null, ...session } = await this.#read(shardId);
    const known = isSession(session) ? session : null;
    this.#shards.set(shardId, new ShardProgress(known, handledId));
    return known;
  }

  /**
   * The newest message that was surely handled when the present session, or this process, began: what
   * is newer may have been said to nobody. Null when nothing is known.
   */
  missedSince(shardId: number): string | null {
    return this.#shards.get(shardId)?.beganAfter ?? null;
  }

  /** A damaged session is none: a fresh one costs an IDENTIFY and what was said in between. */
  async #read(shardId: number): Promise<StoredShard> {
    const record = await this.#truth.get(this.#key(shardId));
    if (record === null) return {};
    try {
      return decodeRecord(record, "gateway session") as StoredShard;
    } catch (error) {
      this.#options.onError(error);
      return {};
    }
  }

  /** For `updateSessionInfo`: an event arrived, a session began, or (null) it is over. */
  update(shardId: number, session: ShardSession | null): void {
    if (this.#frozen) return;
    const before = this.#shards.get(shardId);
    const sameSession = session !== null && session.sessionId === before?.session?.sessionId;
    if (before !== undefined && sameSession) return before.arrived(session);
    this.#shards.set(shardId, new ShardProgress(session, before?.handledId ?? null));
    this.#write(shardId);
  }

  /**
   * Call when an event is seen, with the id of the message that it brings; call what it returns when
   * the event is handled (its turn is in a mailbox, or it needs no place there). Bound to the session,
   * whose numbers the next one reuses.
   */
  seen(shardId: number, sequence: number, messageId: string | null = null): () => void {
    const shard = this.#shards.get(shardId);
    return () => {
      shard?.handled(sequence, messageId);
      if (shard === this.#shards.get(shardId)) this.#write(shardId);
    };
  }

  /** From now on no session begins or ends: the library forgets sessions when closed, we do not. */
  freeze(): void {
    this.#frozen = true;
  }

  /** Waits until what is handled is stored. From now on everything is at once. */
  async flush(): Promise<void> {
    this.#flushing.abort(over);
    await Promise.all([...this.#shards.values()].map(async (shard) => shard.writing));
  }

  /** One write at a time per shard; what changes meanwhile goes with the next one. */
  #write(shardId: number): void {
    const shard = this.#shards.get(shardId);
    if (shard === undefined) return;
    shard.dirty = true;
    shard.writing ??= this.#writeUntilClean(shardId, shard).finally(() => {
      shard.writing = null;
    });
  }

  async #writeUntilClean(shardId: number, shard: ShardProgress): Promise<void> {
    while (shard.dirty) {
      shard.dirty = false;
      // A new session has taken this one's place in the map, and its key is the same.
      if (this.#shards.get(shardId) !== shard) return;
      try {
        const stored = shard.stored();
        if (stored === null) await this.#truth.del(this.#key(shardId));
        else await this.#truth.set(this.#key(shardId), encodeRecord(stored));
      } catch (error) {
        this.#options.onError(error);
      }
      if (shard.dirty) await this.#options.clock.sleep(writeIntervalMs, this.#flushing.signal);
    }
  }

  #key(shardId: number): string {
    return gatewaySessionKey(this.#options.applicationId, shardId);
  }
}

function isSession(stored: StoredShard): stored is ShardSession {
  return stored.sessionId !== undefined;
}

class ShardProgress {
  session: ShardSession | null;
  /** See {@link SessionStore.missedSince}. */
  readonly beganAfter: string | null;
  handledId: string | null;
  dirty = false;
  writing: Promise<void> | null = null;
  readonly #unhandled = new Set<number>();
  /** Messages handled while an event before them is not. */
  #ahead: { readonly sequence: number; readonly messageId: string }[] = [];

  constructor(session: ShardSession | null, handledId: string | null) {
    this.session = session;
    this.beganAfter = handledId;
    this.handledId = handledId;
  }

  arrived(session: ShardSession): void {
    this.session = session;
    this.#unhandled.add(session.sequence);
  }

  handled(sequence: number, messageId: string | null): void {
    this.#unhandled.delete(sequence);
    if (messageId !== null) this.#ahead.push({ sequence, messageId });
    const oldest = this.#oldestUnhandled() ?? Number.POSITIVE_INFINITY;
    // One before it is still on its way, and so it brings nothing forward.
    if (oldest < sequence) return;
    const passed = this.#ahead.filter((one) => one.sequence < oldest);
    this.#ahead = this.#ahead.filter((one) => one.sequence > oldest);
    for (const one of passed) {
      if (BigInt(one.messageId) > BigInt(this.handledId ?? 0)) this.handledId = one.messageId;
    }
  }

  stored(): StoredShard | null {
    const known = this.handledId === null ? {} : { handledId: this.handledId };
    if (this.session === null) return this.handledId === null ? null : known;
    const oldest = this.#oldestUnhandled();
    const sequence = oldest === undefined ? this.session.sequence : oldest - 1;
    return { ...this.session, sequence, ...known };
  }

  /** A Set keeps insertion order and sequences only grow: the first is the oldest. */
  #oldestUnhandled(): number | undefined {
    const [oldest] = this.#unhandled;
    return oldest;
  }
}
