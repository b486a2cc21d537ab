/**
 * Which request may be sent when. Discord allows a bot 50 requests a second, and (by observation) 5
 * edits in 5 s per channel, shared by all replies streaming there.
 *
 * Promises: what is waited for goes at once, and counts: first words, a final edit. Live edits and
 * placeholders take what that leaves of the bot's requests, those first that are due longest; live edits
 * of all channels stay below 32 a second however many replies stream, and one channel's below one per
 * `editIntervalMsMin`. The process that takes over keeps the pace.
 */
import type { Clock } from "#infra/clock/clock.ts";
import type { Pace } from "#infra/discord/open-replies.ts";

export const editIntervalMsMin = 1_200;
/**
 * Discord allows a bot 50. Its seconds begin with the first request that it gets, ours with the first
 * that we send: at 50 of ours, those that are held up on the way fall into a second that is full.
 */
export const requestsPerSecondMax = 40;
const liveEditsPerSecondMax = 32;
/** What may wait leaves this share of the requests alone: those that come next go at once. */
const headroom = 0.1;
/** Who is due longer than this has nothing to say. */
const overdueMsMax = 30_000;
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

interface Waiting {
  /** Monotonic ms; who is due longest goes first. */
  readonly dueMs: number;
  readonly go: () => void;
}

export class Pacer {
  readonly #options: PacerOptions;
  /** Between two requests of those that wait. */
  readonly #requestMs: number;
  /** Channel → monotonic ms when its next edit is due. */
  readonly #dueMs = new Map<string, number>();
  /** Monotonic ms when all that was sent so far has had its time. */
  #spentMs = 0;
  /** Those that wait for room. */
  readonly #waiting = new Set<Waiting>();

  constructor(options: PacerOptions) {
    this.#options = options;
    const perSecond = options.requestsPerSecondMax ?? requestsPerSecondMax;
    this.#requestMs = 1_000 / (perSecond * (1 - headroom));
  }

  /** Waits for the channel's next turn, then for room. False when `signal` ended that: nothing counts. */
  async edit(channelId: string, signal: AbortSignal): Promise<boolean> {
    const { clock } = this.#options;
    const dueMs = this.#reserve(channelId);
    await clock.sleep(Math.max(0, dueMs - clock.monotonicMs()), signal);
    const went = await this.room(signal, dueMs);
    if (went) this.#nextAfter(channelId, clock.monotonicMs());
    else this.#giveBack(channelId, dueMs);
    return went;
  }

  /** The same for an edit that brings the first words: they wait for what Discord allows a channel only. */
  async firstWords(channelId: string, signal: AbortSignal): Promise<boolean> {
    const { clock, editIntervalMsMin: floorMs = editIntervalMsMin } = this.#options;
    const dueMs = this.#reserve(channelId, floorMs);
    await clock.sleep(Math.max(0, dueMs - clock.monotonicMs()), signal);
    if (signal.aborted) this.#giveBack(channelId, dueMs);
    else this.#spend();
    return !signal.aborted;
  }

  /** Waits until nothing that cannot wait is on its way. False when `signal` ended that. */
  async room(
    signal: AbortSignal,
    dueMs: number = this.#options.clock.monotonicMs(),
  ): Promise<boolean> {
    if (signal.aborted) return false;
    if (this.#waiting.size === 0 && this.#roomInMs() <= 0) this.#spend();
    else await this.#itsTurn(signal, dueMs);
    return !signal.aborted;
  }

  /** Counts a request that did not wait. */
  note(channelId: string): void {
    this.#nextAfter(channelId, this.#options.clock.monotonicMs());
    this.#spend();
  }

  intervalMs(): number {
    return editIntervalMs(this.#options.streams(), this.#options.editIntervalMsMin);
  }

  /** Forgets channels whose turn is long over, so the map stays as small as what streams. */
  sweep(): void {
    const overMs = this.#options.clock.monotonicMs() - overdueMsMax;
    for (const [channelId, due] of this.#dueMs) if (due <= overMs) this.#dueMs.delete(channelId);
  }

  /** When channels are due, for the process that takes over. */
  pace(): Pace {
    const { clock } = this.#options;
    const unixMs = clock.nowMs() - clock.monotonicMs();
    return new Map([...this.#dueMs].map(([channelId, dueMs]) => [channelId, unixMs + dueMs]));
  }

  /** Goes on with the pace of the process before. */
  keepPace(pace: Pace): void {
    const { clock } = this.#options;
    const unixMs = clock.nowMs() - clock.monotonicMs();
    for (const [channelId, dueMs] of pace) this.#dueMs.set(channelId, dueMs - unixMs);
  }

  /** Takes the channel's next turn, or one in `waitMsMax`, and returns when it is due, monotonic ms. */
  #reserve(channelId: string, waitMsMax: number = Infinity): number {
    const nowMs = this.#options.clock.monotonicMs();
    const dueMs = Math.min(this.#dueMs.get(channelId) ?? nowMs, nowMs + waitMsMax);
    this.#dueMs.set(channelId, Math.max(dueMs, nowMs) + this.intervalMs());
    return dueMs;
  }

  /** A turn that was taken and not used. */
  #giveBack(channelId: string, dueMs: number): void {
    const nextMs = this.#dueMs.get(channelId) ?? 0;
    this.#dueMs.set(channelId, Math.max(dueMs, nextMs - this.intervalMs()));
  }

  /** The channel was edited then. */
  #nextAfter(channelId: string, editedMs: number): void {
    const dueMs = this.#dueMs.get(channelId) ?? 0;
    this.#dueMs.set(channelId, Math.max(dueMs, editedMs + this.intervalMs()));
  }

  #spend(): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#spentMs = Math.max(this.#spentMs, nowMs) + this.#requestMs;
  }

  #roomInMs(): number {
    return this.#spentMs - (burst - 1) * this.#requestMs - this.#options.clock.monotonicMs();
  }

  async #itsTurn(signal: AbortSignal, dueMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const waiting = { dueMs, go };
      const waits = this.#waiting;
      const spend = (): void => this.#spend();
      function go(): void {
        waits.delete(waiting);
        signal.removeEventListener("abort", go);
        if (!signal.aborted) spend();
        resolve();
      }
      signal.addEventListener("abort", go, { once: true });
      waits.add(waiting);
      if (this.#waiting.size === 1) void this.#letThrough();
    });
  }

  #longestDue(): Waiting | null {
    let found: Waiting | null = null;
    for (const one of this.#waiting) if (found === null || one.dueMs < found.dueMs) found = one;
    return found;
  }

  async #letThrough(): Promise<void> {
    while (this.#waiting.size > 0) {
      const waitMs = this.#roomInMs();
      if (waitMs > 0) await this.#options.clock.sleep(Math.ceil(waitMs));
      else this.#longestDue()?.go();
    }
  }
}
