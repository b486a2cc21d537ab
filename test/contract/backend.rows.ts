/**
 * Random rows and states for the backend suite, and ways to compare what comes back.
 */
import * as fc from "fast-check";
import type { CanonicalState, PlanRow, SampleOptions } from "#kernels/backends/contract.ts";
import { type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { layerLayout } from "#kernels/state/layout.ts";

export const plainSample: SampleOptions = {
  seed: "suite",
  draw: 0,
  temperature: 1,
  topP: 0.8,
  presencePenalty: 0.4,
  frequencyPenalty: 0.4,
  penaltyDecay: 0.996,
};

export function tokensOf(config: ModelConfig, lengthMax = 9): fc.Arbitrary<number[]> {
  const token = fc.integer({ min: 0, max: config.vocabSize - 1 });
  return fc.array(token, { minLength: 1, maxLength: lengthMax });
}

/** What a row asks for, without the slot it will run in. */
export type RowRequest = Omit<PlanRow, "slot"> & { readonly stateSeed: number | null };

export function rowRequest(config: ModelConfig): fc.Arbitrary<RowRequest> {
  const sample = fc.record({
    seed: fc.string(),
    temperature: fc.constantFrom(0, 0.7, 1, 1.5),
    topP: fc.constantFrom(0, 0.3, 0.9, 1),
  });
  return fc
    .record({
      tokens: tokensOf(config),
      want: fc.constantFrom("none", "last", "all"),
      sample: fc.option(sample),
      stateSeed: fc.option(fc.integer({ min: 1, max: 2 ** 30 })),
    })
    .map(({ sample: drawn, ...row }) =>
      drawn === null ? row : { ...row, sample: { ...plainSample, ...drawn } },
    );
}

/** A state with the magnitudes of a running conversation; null is the fresh one. */
export function stateFrom(config: ModelConfig, seed: number | null): CanonicalState {
  const state = new Float32Array(stateLength(config));
  if (seed === null) return state;
  let bits = seed;
  return state.map(() => {
    bits = (Math.imul(bits, 1_664_525) + 1_013_904_223) >>> 0;
    return (bits / 2 ** 32) * 4 - 2;
  });
}

export function bitEqual(a: Float32Array | null, b: Float32Array | null): boolean {
  if (a === null || b === null) return a === b;
  return Buffer.compare(bytesOf(a), bytesOf(b)) === 0;
}

function bytesOf(numbers: Float32Array): Buffer {
  return Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}

/** Largest difference over the largest expected magnitude; NaN anywhere gives NaN. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let magnitude = 0;
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(actual[i]! - expected[i]!));
    magnitude = Math.max(magnitude, Math.abs(expected[i]!));
  }
  return actual.length === expected.length ? difference / Math.max(magnitude, 1e-30) : Infinity;
}

/** Squared distances, relative to the largest expected magnitude of each comparison, summed up. */
export class ErrorSum {
  #squares = 0;
  #count = 0;

  add(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
    let magnitude = 1e-30;
    for (let i = 0; i < expected.length; i++) {
      magnitude = Math.max(magnitude, Math.abs(expected[i]!));
    }
    for (let i = 0; i < expected.length; i++) {
      this.#squares += ((actual[i]! - expected[i]!) / magnitude) ** 2;
    }
    this.#count += expected.length;
  }

  /** Root of the mean square; NaN anywhere gives NaN. */
  get rms(): number {
    return Math.sqrt(this.#squares / this.#count);
  }
}

/** The worst `relativeError` of the parts of a state: shifts and memories differ in magnitude. */
export function stateError(
  config: ModelConfig,
  actual: Float32Array,
  expected: Float32Array | Float64Array,
): number {
  let worst = actual.length === expected.length ? 0 : Infinity;
  for (let layer = 0; layer < config.layers; layer++) {
    const { attShift, wkv, ffnShift, end } = layerLayout(config, layer);
    const bounds = [attShift, wkv, ffnShift, end];
    for (let part = 0; part < 3; part++) {
      const [from, to] = [bounds[part]!, bounds[part + 1]!];
      const error = relativeError(actual.subarray(from, to), expected.subarray(from, to));
      worst = Math.max(worst, error);
    }
  }
  return worst;
}
