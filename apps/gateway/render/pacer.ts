/**
 * Which request may be sent when. Discord allows a bot 50 requests a second, and (by observation) 5
 * edits in 5 s per channel, shared by all replies streaming there.
 *
 * Promises: what is waited for goes at once, and counts: first words, a final edit. Live edits and
 * placeholders take what that leaves of the bot's requests, in the order they came; live edits of all
 * channels stay below 32 a second however many replies stream, and one channel's below one per
 * `editIntervalMsMin`.
 */
import type { Clock } from "#infra/clock/clock.ts";

export const editIntervalMsMin = 1_200;
/**
 * Discord allows a bot 50. Its seconds begin with the first request that it gets, ours with the first
 * that we send: at 50 of ours, those that are held up on the way fall into a second that is full.
 */
export const requestsPerSecondMax = 40;
const liveEditsPerSecondMax = 32;
/** What may wait leaves this share of the requests alone: those that come next go at once. */
const headroom = 0.1;
/** Requests that find room at once after a quiet moment. */
const burst = 4;

/** Time between two live edits of one message when `streams` replies are open. */
export function editIntervalMs(streams: number, floorMs: number = editIntervalMsMin): number {
  return Math.max(floorMs, (streams * 1_000) / liveEditsPerSecondMax);
}

export interface PacerOptions {
  readonly clock: Clock;
  /** Replies open now. */
  readonly streams: () => number;
  readonly editIntervalMsMin?: number;
  readonly requestsPerSecondMax?: number;
}

export class Pacer {
  readonly #options: PacerOptions;
  /** Between two requests of those that wait. */
  readonly #requestMs: number;
  /** Channel → monotonic ms when its next edit is due. */
  readonly #dueMs = new Map<string, number>();
  /** Monotonic ms when all that was sent so far has had its time. */
  #spentMs = 0;
  /** Those that wait for room, oldest first. */
  readonly #waiting = new Set<() => void>();

  constructor(options: PacerOptions) {
    this.#options = options;
    const perSecond = options.requestsPerSecondMax ?? requestsPerSecondMax;
    this.#requestMs = 1_000 / (perSecond * (1 - headroom));
  }

  /** Waits for the channel's next turn, then for room. False when `signal` ended that: nothing counts. */
  async edit(channelId: string, signal: AbortSignal): Promise<boolean> {
    await this.#options.clock.sleep(this.#reserve(channelId), signal);
    return this.room(signal);
  }

  /** The same for an edit that brings the first words: they wait for what Discord allows a channel only. */
  async firstWords(channelId: string, signal: AbortSignal): Promise<boolean> {
    const { clock, editIntervalMsMin: floorMs = editIntervalMsMin } = this.#options;
    await clock.sleep(this.#reserve(channelId, floorMs), signal);
    if (!signal.aborted) this.#spend();
    return !signal.aborted;
  }

  /** Waits until nothing that cannot wait is on its way. False when `signal` ended that. */
  async room(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    if (this.#waiting.size === 0 && this.#roomInMs() <= 0) this.#spend();
    else await this.#itsTurn(signal);
    return !signal.aborted;
  }

  /** Counts a request that did not wait. */
  note(channelId: string): void {
    const nowMs = this.#options.clock.monotonicMs();
    const due = Math.max(nowMs, this.#dueMs.get(channelId) ?? 0);
    this.#dueMs.set(channelId, Math.max(due, nowMs + this.intervalMs()));
    this.#spend();
  }

  intervalMs(): number {
    return editIntervalMs(this.#options.streams(), this.#options.editIntervalMsMin);
  }

  /** Forgets channels whose turn is over, so the map stays as small as what streams. */
  sweep(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [channelId, due] of this.#dueMs) if (due <= nowMs) this.#dueMs.delete(channelId);
  }

  /** Takes the channel's next turn, or one in `waitMsMax`, and returns how long to wait for it, ms. */
  #reserve(channelId: string, waitMsMax: number = Infinity): number {
    const nowMs = this.#options.clock.monotonicMs();
    const waitMs = Math.max(0, (this.#dueMs.get(channelId) ?? 0) - nowMs);
    const turnMs = nowMs + Math.min(waitMs, waitMsMax);
    this.#dueMs.set(channelId, turnMs + this.intervalMs());
    return turnMs - nowMs;
  }

  #spend(): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#spentMs = Math.max(this.#spentMs, nowMs) + this.#requestMs;
  }

  #roomInMs(): number {
    return this.#spentMs - (burst - 1) * this.#requestMs - this.#options.clock.monotonicMs();
  }

  async #itsTurn(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const go = (): void => {
        this.#waiting.delete(go);
        signal.removeEventListener("abort", go);
        if (!signal.aborted) this.#spend();
        resolve();
      };
      signal.addEventListener("abort", go, { once: true });
      this.#waiting.add(go);
      if (this.#waiting.size === 1) void this.#letThrough();
    });
  }

  async #letThrough(): Promise<void> {
    while (this.#waiting.size > 0) {
      const waitMs = this.#roomInMs();
      const [oldest] = this.#waiting;
      if (waitMs > 0) await this.#options.clock.sleep(Math.ceil(waitMs));
      else oldest?.();
    }
  }
}
