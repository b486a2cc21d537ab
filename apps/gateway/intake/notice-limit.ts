/** One notice per user and minute: refusals must not become a flood of their own. */
import type { Clock } from "#infra/clock/clock.ts";

const quietMs = 60_000;
const usersMax = 10_000;

export class NoticeLimit {
  readonly #clock: Clock;
  readonly #lastMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True when the user may be told; counts as told. */
  admit(userId: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    const last = this.#lastMs.get(userId);
    if (last !== undefined && nowMs - last < quietMs) return false;
    this.#lastMs.delete(userId);
    this.#lastMs.set(userId, nowMs);
    if (this.#lastMs.size > usersMax) this.#forgetOldest();
    return true;
  }

  #forgetOldest(): void {
    const [oldest] = this.#lastMs.keys();
    if (oldest !== undefined) this.#lastMs.delete(oldest);
  }
}
