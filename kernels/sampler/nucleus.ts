/**
 * The nucleus (top-p set) of a row, found without sorting it.
 *
 * One pass adds each token's probability to a bin of its distance from the maximum, 1/64 nat wide;
 * a second collects the tokens down to the bin in which the descending sum reaches top-p. The cut
 * lies in that bin, where a weighted quickselect finds it. For a flat row of 65,536 logits the bin
 * holds about a hundred tokens.
 */
import { exponentialAt, stepOf, steps, stepsPerUnit } from "./exponential.ts";

/** Room for the work of one row, kept between draws. */
export interface NucleusScratch {
  /** `[steps]` */
  readonly mass: Float64Array;
  /** `[V]` */
  readonly members: Float32Array;
}

export function allocateNucleusScratch(vocabSize: number): NucleusScratch {
  return { mass: new Float64Array(steps), members: new Float32Array(vocabSize) };
}

export interface NucleusOptions {
  /** Largest logit of the row. */
  readonly maximum: number;
  /** In [0, 1). */
  readonly topP: number;
  readonly scratch: NucleusScratch;
}

/**
 * Writes the tokens of the nucleus to `tokens` in ascending order and returns how many they are.
 * Walking down from the maximum, it ends with the first token at which the sum of probabilities
 * reaches `topP`, and takes in that token's equals.
 */
export function selectNucleus(
  tokens: Uint32Array,
  row: Float32Array,
  options: NucleusOptions,
): number {
  const { maximum, topP, scratch } = options;
  const { mass, members } = scratch;
  let missing = topP * fillBins(mass, row, maximum);
  let boundary = 0;
  while (boundary < steps - 1 && mass[boundary]! < missing) missing -= mass[boundary++]!;

  // One step of slack: what the bound lets through in excess, the exact comparisons below drop.
  const lowest = maximum - (boundary + 1) / stepsPerUnit;
  let collected = 0;
  let inBoundary = 0;
  for (let token = 0; token < row.length; token++) {
    const logit = row[token]!;
    if (logit < lowest) continue;
    tokens[collected++] = token;
    if (stepOf(maximum - logit) === boundary) members[inBoundary++] = logit;
  }
  const cut = selectByMass(members, inBoundary, { maximum, step: boundary, missing });
  let kept = 0;
  for (let i = 0; i < collected; i++) {
    const token = tokens[i]!;
    if (row[token]! >= cut) tokens[kept++] = token;
  }
  return kept;
}

/** Sums exp(logit − maximum) by step; returns the sum of all. */
function fillBins(mass: Float64Array, row: Float32Array, maximum: number): number {
  mass.fill(0);
  for (let token = 0; token < row.length; token++) {
    const distance = maximum - row[token]!;
    const step = stepOf(distance);
    mass[step]! += exponentialAt(distance, step);
  }
  let total = 0;
  for (let step = 0; step < steps; step++) total += mass[step]!;
  return total;
}

/**
 * The largest logit among the first `count` members down to which their mass reaches `missing`;
 * the smallest of all if rounding lets it fall short. Reorders `members`.
 */
function selectByMass(
  members: Float32Array,
  count: number,
  search: { readonly maximum: number; readonly step: number; readonly missing: number },
): number {
  const { maximum, step } = search;
  let { missing } = search;
  let left = count;
  for (;;) {
    const pivot = members[left >> 1]!;
    let massAbove = 0;
    let massEqual = 0;
    for (let i = 0; i < left; i++) {
      if (members[i]! < pivot) continue;
      const mass = exponentialAt(maximum - members[i]!, step);
      if (members[i]! > pivot) massAbove += mass;
      else massEqual += mass;
    }
    const goUp = massAbove > 0 && missing <= massAbove;
    if (!goUp && missing <= massAbove + massEqual) return pivot;
    if (!goUp) missing -= massAbove + massEqual;
    let kept = 0;
    for (let i = 0; i < left; i++) {
      if (goUp ? members[i]! > pivot : members[i]! < pivot) members[kept++] = members[i]!;
    }
    if (kept === 0) return pivot;
    left = kept;
  }
}
