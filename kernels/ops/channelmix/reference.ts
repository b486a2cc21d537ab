/** Channel-mix for one token, the plain twin. Formula, shapes and traffic: `math.md`. */
import { matrixVector } from "#kernels/ops/gemm/reference.ts";

export interface ChannelMixWeights {
  /** `[F, D]` */
  readonly key: Float32Array;
  /** `[D, D]` */
  readonly receptance: Float32Array;
  /** `[D, F]` */
  readonly value: Float32Array;
}

/** Buffers that a caller keeps between tokens: `inner` is `[F]`, `gate` is `[D]`. */
export interface ChannelMixScratch {
  readonly inner: Float32Array;
  readonly gate: Float32Array;
}

/** `out = sigmoid(W_r·xr) ⊙ (W_v·relu(W_k·xk)²)`, `[D]`. */
export function channelMix(
  out: Float32Array,
  shifted: { readonly xk: Float32Array; readonly xr: Float32Array },
  options: { readonly weights: ChannelMixWeights; readonly scratch: ChannelMixScratch },
): void {
  const { weights, scratch } = options;
  const { inner, gate } = scratch;
  matrixVector(inner, weights.key, shifted.xk);
  for (let i = 0; i < inner.length; i++) {
    const positive = Math.max(inner[i]!, 0);
    inner[i] = positive * positive;
  }
  matrixVector(out, weights.value, inner);
  matrixVector(gate, weights.receptance, shifted.xr);
  for (let i = 0; i < out.length; i++) out[i]! *= sigmoid(gate[i]!);
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}
