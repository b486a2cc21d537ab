/**
 * When to try again, and when to stop trying.
 *
 * Waits double up to a cap, with jitter so that many pulls do not return together; a server that
 * says how long to wait is obeyed up to a cap of its own. Only tries that brought nothing count:
 * a line that is cut every minute still ends with the whole file.
 */
import type { Clock } from "#infra/clock/clock.ts";
import { Setback } from "./hub.ts";

export interface RetryOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How far the work has come; growth starts the count anew. */
  readonly progress: () => number;
  readonly onRetry: (reason: string, waitMs: number) => void;
}

const triesMax = 6;
const firstWaitMs = 1_000;
const waitMsMax = 30_000;
const retryAfterMsMax = 120_000;

/** Runs `work` until it succeeds; its last `Setback` is thrown when it does not get on. */
export async function withRetries<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  let best = options.progress();
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof Setback)) throw error;
      if (options.progress() > best) tries = 1;
      best = Math.max(best, options.progress());
      if (tries >= triesMax) throw error;
      const waitMs = waitBefore(tries, error.retryAfterMs);
      options.onRetry(error.message, waitMs);
      await options.clock.sleep(waitMs, options.signal);
      options.signal.throwIfAborted();
    }
  }
}

function waitBefore(tries: number, retryAfterMs: number | null): number {
  if (retryAfterMs !== null) return Math.min(retryAfterMs, retryAfterMsMax);
  const full = Math.min(firstWaitMs * 2 ** (tries - 1), waitMsMax);
  return Math.round(full * (0.5 + Math.random() / 2));
}
