/**
 * The IDENTIFY budget: so many a day for the whole bot, and one per 5 s for each
 * `shard_id % max_concurrency`. RESUME costs nothing.
 */
import type { DoubleClock } from "../clock.ts";

export interface IdentifyRules {
  readonly perDay: number;
  readonly maxConcurrency: number;
  readonly windowMs: number;
}

const dayMs = 24 * 60 * 60 * 1000;

export class IdentifyBudget {
  readonly #clock: DoubleClock;
  readonly #rules: IdentifyRules;
  readonly #lastByKey = new Map<number, number>();
  #spent = 0;
  #dayEndsAtMs: number;

  constructor(clock: DoubleClock, rules: IdentifyRules) {
    this.#clock = clock;
    this.#rules = rules;
    this.#dayEndsAtMs = clock.now() + dayMs;
  }

  /** `exhausted`: the day's budget is gone, which costs the bot its token. */
  spend(shardId: number): "granted" | "too-soon" | "exhausted" {
    this.#turnDay();
    if (this.#spent >= this.#rules.perDay) return "exhausted";
    const now = this.#clock.now();
    const key = shardId % this.#rules.maxConcurrency;
    const last = this.#lastByKey.get(key);
    if (last !== undefined && now - last < this.#rules.windowMs) return "too-soon";
    this.#spent += 1;
    this.#lastByKey.set(key, now);
    return "granted";
  }

  /** `session_start_limit` of `GET /gateway/bot`. */
  limit() {
    this.#turnDay();
    return {
      total: this.#rules.perDay,
      remaining: Math.max(0, this.#rules.perDay - this.#spent),
      reset_after: this.#dayEndsAtMs - this.#clock.now(),
      max_concurrency: this.#rules.maxConcurrency,
    };
  }

  #turnDay(): void {
    if (this.#clock.now() < this.#dayEndsAtMs) return;
    this.#spent = 0;
    this.#dayEndsAtMs = this.#clock.now() + dayMs;
  }
}
