/** Memory of processes over time: is it flat? */
import { readFileSync } from "node:fs";
import type { Process } from "#test/platform/platform.ts";

/** A process fills its caches first. */
const warmUpMs = 30_000;
const lifeMsMin = 60_000;

interface Life {
  readonly name: string;
  readonly bornMs: number;
  readonly samples: (readonly [atMs: number, bytes: number])[];
}

export interface Slope {
  readonly process: string;
  readonly minutes: number;
  readonly rssMiB: number;
  readonly bytesPerMinute: number;
}

export class MemoryLog {
  readonly #lives = new Map<Process, Life>();

  sample(name: string, process: Process): void {
    const nowMs = performance.now();
    const life = this.#lives.get(process) ?? { name, bornMs: nowMs, samples: [] };
    this.#lives.set(process, life);
    const bytes = residentBytes(process.pid);
    if (bytes !== null && nowMs - life.bornMs > warmUpMs) life.samples.push([nowMs, bytes]);
  }

  /** Of processes that lived long enough to tell. */
  slopes(): Slope[] {
    return [...this.#lives.values()].flatMap(({ name, samples }) => {
      const [first] = samples;
      const last = samples.at(-1);
      if (first === undefined || last === undefined || last[0] - first[0] < lifeMsMin) return [];
      return [
        {
          process: name,
          minutes: Math.round((last[0] - first[0]) / 6_000) / 10,
          rssMiB: Math.round(last[1] / 2 ** 20),
          bytesPerMinute: Math.round(slopeOf(samples) * 60_000),
        },
      ];
    });
  }
}

/** Null when the process is gone. */
function residentBytes(pid: number): number | null {
  try {
    const found = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return found === null ? null : Number(found[1]) * 1024;
  } catch {
    return null;
  }
}

/** Least squares, bytes per ms. */
function slopeOf(samples: readonly (readonly [number, number])[]): number {
  const mean = (of: (one: readonly [number, number]) => number): number =>
    samples.reduce((sum, one) => sum + of(one), 0) / samples.length;
  const meanAt = mean(([at]) => at);
  const meanBytes = mean(([, bytes]) => bytes);
  const covariance = mean(([at, bytes]) => (at - meanAt) * (bytes - meanBytes));
  return covariance / (mean(([at]) => (at - meanAt) ** 2) || 1);
}
