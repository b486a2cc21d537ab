/** Time that passes only when told to: sleepers wake in order. */
import type { Clock } from "#infra/clock/clock.ts";

export class VirtualClock implements Clock {
  #nowMs = 0;
  readonly #sleepers: { readonly dueMs: number; readonly wake: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    await new Promise<void>((wake) => {
      this.#sleepers.push({ dueMs: this.#nowMs + ms, wake });
      signal?.addEventListener("abort", () => wake(), { once: true });
    });
  }

  /** Lets `ms` pass; what is due wakes at its time, and its work is done before time goes on. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      this.#sleepers.sort((a, b) => a.dueMs - b.dueMs);
      const next = this.#sleepers[0];
      if (next === undefined || next.dueMs > endMs) break;
      this.#sleepers.shift();
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.wake();
      await settle();
    }
    this.#nowMs = endMs;
  }
}

/** Everything that waits for nothing but promises. */
async function settle(): Promise<void> {
  await new Promise((done) => setImmediate(done));
}
