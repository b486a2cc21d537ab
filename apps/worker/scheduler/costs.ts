/**
 * What a step costs on this backend, learnt while it works: ms ≈ a + b·(rows that decode) + c·(prompt
 * tokens), by least squares over the steps so far, older ones fading. It needs no step of a certain kind:
 * a worker that takes over fifty replies has none without prompts until they are all read.
 */

/** What was in a step, and how long it took. */
export interface StepMeasured {
  readonly decodeTokens: number;
  readonly prefillTokens: number;
  readonly ms: number;
}

/** Never negative. */
export interface StepCosts {
  /** Whatever is in it. */
  readonly stepMs: number;
  /** Each row that decodes, on top. */
  readonly decodeTokenMs: number;
  /** Each prompt token, on top. */
  readonly prefillTokenMs: number;
  /** Of the last step that had any. */
  readonly prefillTokens: number;
  readonly sums: StepSums;
}

/** Over steps, with x = (1, decode tokens, prompt tokens): x·xᵀ and x·ms. */
interface StepSums {
  readonly xx: readonly (readonly number[])[];
  readonly xMs: readonly number[];
}

/** A step counts half as much after 34 others. */
const fading = 0.98;
/** Rounds of the solver; it begins where it was after the step before. */
const rounds = 20;

const nothing: StepSums = {
  xx: [
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
  ],
  xMs: [0, 0, 0],
};

export function learnCosts(costs: StepCosts | null, step: StepMeasured): StepCosts {
  const x = [1, step.decodeTokens, step.prefillTokens];
  const before = costs?.sums ?? nothing;
  const xx = before.xx.map((row, i) => row.map((sum, j) => fading * sum + x[i]! * x[j]!));
  const xMs = before.xMs.map((sum, i) => fading * sum + x[i]! * step.ms);
  const { stepMs = 0, decodeTokenMs = 0, prefillTokenMs = 0 } = costs ?? {};
  const fit = solve({ xx, xMs }, [stepMs, decodeTokenMs, prefillTokenMs]);
  return {
    stepMs: fit[0]!,
    decodeTokenMs: fit[1]!,
    // Nothing costs nothing: a fit that says so has seen no prompt since steps became slower.
    prefillTokenMs: fit[2]! || prefillTokenMs,
    prefillTokens: step.prefillTokens || (costs?.prefillTokens ?? 0),
    sums: { xx, xMs },
  };
}

/**
 * The costs that fit best and are not negative: by coordinate descent, each by what the others leave. Where
 * the steps do not tell them apart, prompts seem to cost nothing; they get more tokens then, which tells.
 */
function solve({ xx, xMs }: StepSums, start: readonly number[]): number[] {
  const costs = [...start];
  for (let round = 0; round < rounds; round++) {
    for (const [i, row] of xx.entries()) {
      let left = xMs[i]!;
      for (const [j, value] of row.entries()) if (j !== i) left -= value * costs[j]!;
      costs[i] = row[i] === 0 ? 0 : Math.max(0, left / row[i]!);
    }
  }
  return costs;
}
