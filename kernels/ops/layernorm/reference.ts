/** LayerNorm and per-head GroupNorm, the plain twin. Formula, shapes and traffic: `math.md`. */

export interface Norm {
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly eps: number;
}

/** Normalises `x` as one group. `out` may be `x`. */
export function layerNorm(out: Float32Array, x: Float32Array, norm: Norm): void {
  groupNorm(out, x, { ...norm, groups: 1 });
}

/** Normalises each of `groups` equal stretches of `x` by itself. `out` may be `x`. */
export function groupNorm(
  out: Float32Array,
  x: Float32Array,
  norm: Norm & { readonly groups: number },
): void {
  const { weight, bias, eps, groups } = norm;
  const size = x.length / groups;
  for (let start = 0; start < x.length; start += size) {
    const end = start + size;
    let sum = 0;
    for (let i = start; i < end; i++) sum += x[i]!;
    const mean = sum / size;
    let squares = 0;
    for (let i = start; i < end; i++) squares += (x[i]! - mean) * (x[i]! - mean);
    const scale = 1 / Math.sqrt(squares / size + eps);
    for (let i = start; i < end; i++) out[i] = (x[i]! - mean) * scale * weight[i]! + bias[i]!;
  }
}
