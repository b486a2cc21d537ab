/** Token shift, the plain twin. Formula, shapes and traffic: `math.md`. */

/** `out = current ⊙ mix + previous ⊙ (1 − mix)`; all of one length. */
export function tokenShift(
  out: Float32Array,
  mix: Float32Array,
  tokens: { readonly current: Float32Array; readonly previous: Float32Array },
): void {
  const { current, previous } = tokens;
  for (let i = 0; i < out.length; i++) {
    out[i] = current[i]! * mix[i]! + previous[i]! * (1 - mix[i]!);
  }
}
