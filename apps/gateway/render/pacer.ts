/**
 * When the next live edit may be sent. Discord allows a bot 50 requests a second, and (by
 * observation) 5 edits in 5 s per channel, shared by all replies streaming there.
 *
 * Promises: the live edits of all channels stay below 32 a second however many replies stream, and
 * one channel's below one per `editIntervalMsMin`. Only live edits wait here: a first post and a
 * final edit go at once, and count.
 */
import type { Clock } from "#infra/clock/clock.ts";

export const editIntervalMsMin = 1_200;
/** Of the 40 that we send; the rest is for posts, final edits and answers to commands. */
const liveEditsPerSecondMax = 32;

/** Time between two live edits of one message when `streams` replies are open. */
export function editIntervalMs(streams: number, floorMs: number = editIntervalMsMin): number {
  return Math.max(floorMs, (streams * 1_000) / liveEditsPerSecondMax);
}

export interface PacerOptions {
  readonly clock: Clock;
  /** Replies open now. */
  readonly streams: () => number;
  readonly floorMs?: number;
}

export class Pacer {
  readonly #options: PacerOptions;
  /** Channel → monotonic ms when its next edit is due. */
  readonly #dueMs = new Map<string, number>();

  constructor(options: PacerOptions) {
    this.#options = options;
  }

  /** Takes the channel's next turn and returns how long to wait for it. */
  reserve(channelId: string): number {
    const nowMs = this.#options.clock.monotonicMs();
    const due = Math.max(nowMs, this.#dueMs.get(channelId) ?? 0);
    this.#dueMs.set(channelId, due + this.intervalMs());
    return due - nowMs;
  }

  /** Counts a request that did not wait. */
  note(channelId: string): void {
    const nowMs = this.#options.clock.monotonicMs();
    const due = Math.max(nowMs, this.#dueMs.get(channelId) ?? 0);
    this.#dueMs.set(channelId, Math.max(due, nowMs + this.intervalMs()));
  }

  intervalMs(): number {
    return editIntervalMs(this.#options.streams(), this.#options.floorMs);
  }

  /** Forgets channels whose turn is over, so the map stays as small as what streams. */
  sweep(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [channelId, due] of this.#dueMs) if (due <= nowMs) this.#dueMs.delete(channelId);
  }
}
