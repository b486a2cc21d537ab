/**
 * How long a fault was felt. Never asserted: a test machine may be busy. Each test leaves its figures
 * in its report, where `npm run faults` compares them with the bound.
 */
import type { TaskMeta } from "vitest";
import { z } from "zod";

export const figuresSchema = z.object({
  /** What was measured, e.g. "worker killed: claimed again". */
  fault: z.string(),
  rounds: z.number(),
  p50: z.number(),
  p99: z.number(),
  /** ms */
  bound: z.number(),
});

export type FaultFigures = z.infer<typeof figuresSchema>;

/** Rounds of a fault: few in `npm test`, as many as asked for in `npm run faults`. */
export function rounds(fewest: number): number {
  return Math.max(fewest, Number(process.env["EYRIE_FAULT_ROUNDS"] ?? 1));
}

/** Timeout of a test of so many rounds. */
export function patience(roundsAtLeast: number): { readonly timeout: number } {
  return { timeout: 120_000 + rounds(roundsAtLeast) * 60_000 };
}

export class Recorder {
  readonly #samples: { readonly fault: string; readonly boundMs: number; readonly ms: number[] }[] =
    [];

  add(fault: string, boundMs: number, ms: number): void {
    const known = this.#samples.find((one) => one.fault === fault);
    if (known === undefined) this.#samples.push({ fault, boundMs, ms: [ms] });
    else known.ms.push(ms);
  }

  /** Leaves what was measured with the test. */
  save(task: { readonly meta: TaskMeta }): void {
    const figures = this.#samples.map(({ fault, boundMs, ms }): FaultFigures => {
      const sorted = ms.toSorted((a, b) => a - b);
      const at = (share: number): number =>
        Math.round(sorted[Math.ceil(share * sorted.length) - 1] ?? 0);
      return { fault, rounds: ms.length, p50: at(0.5), p99: at(0.99), bound: boundMs };
    });
    Object.assign(task.meta, { figures });
  }
}
