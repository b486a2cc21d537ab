/**
 * Speaks when it was planned to. It never waits for an answer; when the machine has held it up it
 * says everything that is due at once, and how late it was is a figure of its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Arrival } from "./arrivals.ts";

export interface GeneratorParts {
  /** Says it; must not wait for anything. `plannedMs` is Unix time. */
  readonly speak: (arrival: Arrival, plannedMs: number) => void;
  readonly nowMs: () => number;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export const realTime: Pick<GeneratorParts, "nowMs" | "sleep"> = {
  nowMs: () => performance.timeOrigin + performance.now(),
  sleep: async (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
};

/** How late each arrival was spoken, ms. Begins now; an abort ends it early, with an error. */
export async function generate(
  arrivals: readonly Arrival[],
  parts: GeneratorParts,
  signal?: AbortSignal,
): Promise<number[]> {
  const startMs = parts.nowMs();
  const lateMs: number[] = [];
  for (const arrival of arrivals) {
    const plannedMs = startMs + arrival.atMs;
    const waitMs = plannedMs - parts.nowMs();
    if (waitMs > 0) await parts.sleep(waitMs, signal);
    signal?.throwIfAborted();
    lateMs.push(Math.max(0, parts.nowMs() - plannedMs));
    parts.speak(arrival, plannedMs);
  }
  return lateMs;
}
