/** Time as a value that is handed in, so that tests and the simulation can own it. */

export interface Clock {
  /** Unix ms; for records that people read, never for decisions between machines. */
  nowMs(): number;
  /** Monotonic ms; for durations. */
  monotonicMs(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Why something of every turn is aborted: given no reason, Node makes an error with its stack, 10 µs. */
export const over = "over";

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((done) => {
      if (signal?.aborted === true) return done();
      const timer = setTimeout(finish, ms);
      signal?.addEventListener("abort", finish, { once: true });
      function finish(): void {
        clearTimeout(timer);
        signal?.removeEventListener("abort", finish);
        done();
      }
    }),
};

/** Waits for `work`, but no longer than `ms`; its failure is thrown if it comes in time. */
export async function within(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const finished = work.finally(() => done.abort(over));
  await Promise.race([finished, clock.sleep(ms, done.signal)]);
}

/**
 * Does `work` every `ms` until told to end; the first time after `ms`, or up to `beatMs` earlier: then what
 * hundreds of tasks of a process send comes in few bundles, each in one write.
 */
export async function every(
  clock: Clock,
  options: { readonly ms: number; readonly beatMs?: number; readonly until: AbortSignal },
  work: () => void,
): Promise<void> {
  const { beatMs, ms, until } = options;
  for (;;) {
    const earlierMs = beatMs === undefined ? 0 : clock.monotonicMs() % beatMs;
    await clock.sleep(ms - earlierMs, until);
    if (until.aborted) return;
    work();
  }
}
