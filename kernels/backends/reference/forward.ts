/**
 * RWKV-v5.2 for one token, op by op, as `ops/<op>/math.md` writes them. Storage is fp32 between ops.
 *
 *     x = LN0(emb[token])
 *     per layer:  x += W_o · (GN(wkv5(shifts of LN1(x))) ⊙ SiLU(gate))
 *                 x += channelmix(shifts of LN2(x))
 *     logits = W_head · LN_out(x)
 *
 * Source: BlinkDL/RWKV-LM, `RWKV-v5/src/model.py`; BlinkDL/ChatRWKV, `RWKV_v5_demo.py`.
 */
import { channelMix, sigmoid } from "#kernels/ops/channelmix/reference.ts";
import { matrixVector } from "#kernels/ops/gemm/reference.ts";
import { groupNorm, layerNorm } from "#kernels/ops/layernorm/reference.ts";
import { tokenShift } from "#kernels/ops/tokenshift/reference.ts";
import { wkv5 } from "#kernels/ops/wkv5/reference.ts";
import type { ModelConfig } from "#kernels/model/config.ts";
import { layerLayout } from "#kernels/state/layout.ts";
import type { LayerWeights, TimeMixWeights, Weights } from "./weights.ts";

/** The activations of one token, kept between tokens so that a step allocates nothing. */
export interface Activations {
  /** The residual stream `[D]`; after `forwardToken`, the input of `computeLogits`. */
  readonly x: Float32Array;
  readonly normed: Float32Array;
  readonly shifted: Float32Array;
  readonly shiftedReceptance: Float32Array;
  readonly receptance: Float32Array;
  readonly key: Float32Array;
  readonly value: Float32Array;
  readonly gate: Float32Array;
  readonly mixed: Float32Array;
  readonly update: Float32Array;
  /** `[F]` */
  readonly inner: Float32Array;
}

export function allocateActivations({ width, ffnWidth }: ModelConfig): Activations {
  const vector = (): Float32Array => new Float32Array(width);
  return {
    x: vector(),
    normed: vector(),
    shifted: vector(),
    shiftedReceptance: vector(),
    receptance: vector(),
    key: vector(),
    value: vector(),
    gate: vector(),
    mixed: vector(),
    update: vector(),
    inner: new Float32Array(ffnWidth),
  };
}

export interface ForwardContext {
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly activations: Activations;
}

/** Feeds `token`: advances `state` in place and leaves the residual stream in `activations.x`. */
export function forwardToken(context: ForwardContext, token: number, state: Float32Array): void {
  const { config, weights, activations } = context;
  const { width } = config;
  const row = weights.embedding.subarray(token * width, (token + 1) * width);
  layerNorm(activations.x, row, weights.embeddingNorm);
  weights.layers.forEach((layer, index) => {
    const { attShift, wkv, ffnShift, end } = layerLayout(config, index);
    const shift = state.subarray(attShift, wkv);
    timeMix(layer, activations, { shift, wkv: state.subarray(wkv, ffnShift) });
    feedForward(layer, activations, state.subarray(ffnShift, end));
  });
}

/** Writes `logits` `[V]` from the residual stream that the last `forwardToken` left. */
export function computeLogits(context: ForwardContext, logits: Float32Array): void {
  const { weights, activations } = context;
  layerNorm(activations.normed, activations.x, weights.outputNorm);
  matrixVector(logits, weights.head, activations.normed);
}

function timeMix(
  layer: LayerWeights,
  activations: Activations,
  state: { readonly shift: Float32Array; readonly wkv: Float32Array },
): void {
  const { x, normed, receptance, key, value, gate, mixed, update } = activations;
  const weights: TimeMixWeights = layer.timeMix;
  layerNorm(normed, x, layer.timeMixNorm);
  const project = (out: Float32Array, mix: Float32Array, matrix: Float32Array): void => {
    tokenShift(activations.shifted, mix, { current: normed, previous: state.shift });
    matrixVector(out, matrix, activations.shifted);
  };
  project(receptance, weights.mixReceptance, weights.receptance);
  project(key, weights.mixKey, weights.key);
  project(value, weights.mixValue, weights.value);
  project(gate, weights.mixGate, weights.gate);
  state.shift.set(normed);

  const { decay, bonus, headNorm } = weights;
  const headSize = x.length / headNorm.groups;
  wkv5(mixed, state.wkv, { receptance, key, value, decay, bonus, headSize });
  groupNorm(mixed, mixed, headNorm);
  for (let i = 0; i < mixed.length; i++) mixed[i]! *= gate[i]! * sigmoid(gate[i]!);
  matrixVector(update, weights.output, mixed);
  add(x, update);
}

function feedForward(layer: LayerWeights, activations: Activations, shift: Float32Array): void {
  const { x, normed, shifted, shiftedReceptance, update, inner, gate } = activations;
  const weights = layer.channelMix;
  layerNorm(normed, x, layer.channelMixNorm);
  const tokens = { current: normed, previous: shift };
  tokenShift(shifted, weights.mixKey, tokens);
  tokenShift(shiftedReceptance, weights.mixReceptance, tokens);
  shift.set(normed);
  const scratch = { inner, gate };
  channelMix(update, { xk: shifted, xr: shiftedReceptance }, { weights, scratch });
  add(x, update);
}

function add(x: Float32Array, update: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i]! += update[i]!;
}
