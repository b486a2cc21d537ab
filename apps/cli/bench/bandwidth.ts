/**
 * How fast this machine can read memory: the limit that every figure of an engine is set against.
 *
 * As many processes as the engine has threads each search 512 MiB of their own, more than any cache
 * holds, for a byte that is not there; one sample is what they read together while all of them did.
 */
import { answerQuestions, BenchChild } from "./child.ts";

const bufferBytes = 512 << 20;
const sampleMs = 150;

export class ReadBandwidth {
  readonly #children: readonly BenchChild<object, number>[];

  constructor(threads: number) {
    this.#children = Array.from(
      { length: threads },
      () => new BenchChild("apps/cli/bench/bandwidth-child.ts"),
    );
  }

  /** Bytes per second of all threads together. */
  async sample(): Promise<number> {
    const speeds = await Promise.all(this.#children.map((child) => child.ask({})));
    return speeds.reduce((sum, speed) => sum + speed, 0);
  }

  async end(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.end()));
  }
}

/** What each of the processes does. */
export function answerScans(): void {
  const memory = Buffer.alloc(bufferBytes, 1);
  const half = memory.length / 2;
  answerQuestions(() => {
    const startedMs = performance.now();
    let bytes = 0;
    for (let part = 0; performance.now() - startedMs < sampleMs; part = 1 - part) {
      if (memory.subarray(part * half, (part + 1) * half).indexOf(2) !== -1) throw new Error("2?");
      bytes += half;
    }
    return (1000 * bytes) / (performance.now() - startedMs);
  });
}
