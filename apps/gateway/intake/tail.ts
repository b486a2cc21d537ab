/**
 * The turns that this process put into truth during the last minute, so that they can be put there again.
 *
 * A failover takes back what the old master had accepted and no replica had (Redis replicates after it
 * has answered). Discord tells a message once and then counts it as told, so nobody else would know.
 * What is put in again is known by its id and changes nothing, unless it is really gone.
 */
import type { Clock } from "#infra/clock/clock.ts";
import type { ConversationId, Turn, TurnId, UserId } from "#infra/turn/index.ts";

/** Longer than a replica is behind that a failover would choose. */
const keptMs = 60_000;

interface Kept {
  readonly turn: Turn;
  readonly atMs: number;
}

export class Tail {
  readonly #clock: Clock;
  /** Oldest first; a turn's id is its message's, and so nobody else's. */
  readonly #kept = new Map<TurnId, Kept>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  note(turn: Turn): void {
    this.#drop();
    this.#kept.delete(turn.id);
    this.#kept.set(turn.id, { turn, atMs: this.#clock.monotonicMs() });
  }

  /** Turns of the last minute, in the order they came. */
  turns(): Turn[] {
    this.#drop();
    return [...this.#kept.values()].map(({ turn }) => turn);
  }

  /** Whether it comes back should truth have lost it. */
  has(id: TurnId): boolean {
    this.#drop();
    return this.#kept.has(id);
  }

  /** Its author has taken it back. */
  forget(id: TurnId): void {
    this.#kept.delete(id);
  }

  /** The conversation, or what one person said in it, is deleted. */
  forgetAll(conversation: ConversationId, author?: UserId): void {
    for (const { turn } of this.#kept.values()) {
      const theirs = author === undefined || turn.author === author;
      if (turn.conversation === conversation && theirs) this.#kept.delete(turn.id);
    }
  }

  #drop(): void {
    const sinceMs = this.#clock.monotonicMs() - keptMs;
    for (const [id, { atMs }] of this.#kept) {
      if (atMs >= sinceMs) return;
      this.#kept.delete(id);
    }
  }
}
