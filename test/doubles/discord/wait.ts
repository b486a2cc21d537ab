/**
 * Waiting for something to become true. Polls, because what a test waits for may be in the double,
 * in a client library or in another process; one mechanism serves all three.
 */
import { setTimeout as sleep } from "node:timers/promises";

const pollMs = 5;

/** Resolves with the first value of `probe` that is neither false, null nor undefined. */
export async function waitUntil<T>(
  probe: () => T | false | null | undefined,
  timeoutMs: number,
  what: () => string,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = probe();
    if (value !== false && value !== null && value !== undefined) return value;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what()}`);
    }
    await sleep(pollMs);
  }
}
