/** Memory of processes over time: is it flat? */
import { readFileSync } from "node:fs";
import type { Done, Order } from "./labels.ts";
import type { Process } from "#test/platform/platform.ts";

/** A start is no growth. */
const warmUpMs = 30_000;
const lifeMsMin = 60_000;
const collectEveryMs = 60_000;

type Sample = readonly [atMs: number, bytes: number];

interface Life {
  readonly name: string;
  readonly bornMs: number;
  readonly samples: Sample[];
  /** Of what its threads hold after a collection. */
  readonly heap: Sample[];
  collectedMs: number;
}

export interface Slope {
  readonly process: string;
  readonly minutes: number;
  readonly rssMiB: number;
  /** Over the second half of its life: in the first it fills its caches and compiles what is hot. */
  readonly bytesPerMinute: number;
  /** The same over the first half. */
  readonly earlyBytesPerMinute: number;
  /** What it holds on to, where it was asked; how much else V8 keeps resident is up to V8. */
  readonly heapMiB: number | null;
  readonly heapBytesPerMinute: number | null;
}

export class MemoryLog {
  readonly #lives = new Map<Process, Life>();

  /** `collect`: looks at what is left after a collection, too, once a minute. */
  sample(name: string, process: Process, { collect }: { readonly collect: boolean }): void {
    const nowMs = performance.now();
    const life = this.#lives.get(process) ?? newLife(name, nowMs);
    this.#lives.set(process, life);
    const bytes = residentBytes(process.pid);
    if (bytes === null || nowMs - life.bornMs <= warmUpMs) return;
    life.samples.push([nowMs, bytes]);
    if (!collect || nowMs - life.collectedMs < collectEveryMs) return;
    life.collectedMs = nowMs;
    // Not waited for: it may be frozen.
    void collected(process).then((left) => {
      if (left !== null) life.heap.push([nowMs, left]);
    });
  }

  /** Of processes that lived long enough to tell. */
  slopes(): Slope[] {
    return [...this.#lives.values()].flatMap(({ heap, name, samples }) => {
      const [first] = samples;
      const last = samples.at(-1);
      if (first === undefined || last === undefined || last[0] - first[0] < lifeMsMin) return [];
      const left = heap.at(-1);
      return [
        {
          process: name,
          minutes: Math.round((last[0] - first[0]) / 6_000) / 10,
          rssMiB: Math.round(last[1] / 2 ** 20),
          bytesPerMinute: bytesPerMinute(samples.slice(samples.length >> 1)),
          earlyBytesPerMinute: bytesPerMinute(samples.slice(0, samples.length >> 1)),
          heapMiB: left === undefined ? null : Math.round((left[1] * 10) / 2 ** 20) / 10,
          heapBytesPerMinute: heap.length < 2 ? null : bytesPerMinute(heap),
        },
      ];
    });
  }
}

function newLife(name: string, bornMs: number): Life {
  return { name, bornMs, samples: [], heap: [], collectedMs: -Infinity };
}

/** Bytes in use after a collection; null when the process is gone or said something else. */
async function collected(process: Process): Promise<number | null> {
  const done = (await process.ask({ kind: "collect" } satisfies Order)) as Done | number | null;
  return typeof done === "object" ? (done?.heapBytes ?? null) : null;
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

/** Least squares. */
function bytesPerMinute(samples: readonly Sample[]): number {
  const mean = (of: (one: Sample) => number): number =>
    samples.reduce((sum, one) => sum + of(one), 0) / samples.length;
  const meanAt = mean(([at]) => at);
  const meanBytes = mean(([, bytes]) => bytes);
  const covariance = mean(([at, bytes]) => (at - meanAt) * (bytes - meanBytes));
  return Math.round((covariance / (mean(([at]) => (at - meanAt) ** 2) || 1)) * 60_000);
}
