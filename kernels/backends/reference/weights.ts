/** All weights of a model in fp32, arranged as the forward pass walks them. */
import type { ChannelMixWeights } from "#kernels/ops/channelmix/reference.ts";
import type { Norm } from "#kernels/ops/layernorm/reference.ts";
import { decayFactors } from "#kernels/ops/wkv5/reference.ts";
import type { Model } from "#kernels/model/model.ts";

export interface Weights {
  /** `[V, D]` */
  readonly embedding: Float32Array;
  readonly embeddingNorm: Norm;
  readonly layers: readonly LayerWeights[];
  readonly outputNorm: Norm;
  /** `[V, D]` */
  readonly head: Float32Array;
}

export interface LayerWeights {
  readonly timeMixNorm: Norm;
  readonly timeMix: TimeMixWeights;
  readonly channelMixNorm: Norm;
  readonly channelMix: ChannelMixWeights & {
    readonly mixKey: Float32Array;
    mixReceptance: Float32Array;
  };
}

export interface TimeMixWeights {
  readonly mixKey: Float32Array;
  readonly mixValue: Float32Array;
  readonly mixReceptance: Float32Array;
  readonly mixGate: Float32Array;
  /** `[H · N]` */
  readonly decay: Float32Array;
  readonly bonus: Float32Array;
  /** `[D, D]` */
  readonly receptance: Float32Array;
  readonly key: Float32Array;
  readonly value: Float32Array;
  readonly gate: Float32Array;
  readonly output: Float32Array;
  readonly headNorm: Norm & { readonly groups: number };
}

export function loadWeights(model: Model): Weights {
  const { layers, layerNormEps } = model.config;
  const norm = (name: string): Norm => readNorm(model, name, layerNormEps);
  return {
    embedding: model.tensor("emb.weight"),
    embeddingNorm: norm("blocks.0.ln0"),
    layers: Array.from({ length: layers }, (_, layer) => ({
      timeMixNorm: norm(`blocks.${layer}.ln1`),
      timeMix: loadTimeMix(model, `blocks.${layer}.att`),
      channelMixNorm: norm(`blocks.${layer}.ln2`),
      channelMix: loadChannelMix(model, `blocks.${layer}.ffn`),
    })),
    outputNorm: norm("ln_out"),
    head: model.tensor("head.weight"),
  };
}

function loadTimeMix(model: Model, prefix: string): TimeMixWeights {
  const read = (name: string): Float32Array => model.tensor(`${prefix}.${name}`);
  const { heads, groupNormEps } = model.config;
  return {
    mixKey: read("time_mix_k"),
    mixValue: read("time_mix_v"),
    mixReceptance: read("time_mix_r"),
    mixGate: read("time_mix_g"),
    decay: decayFactors(read("time_decay")),
    bonus: read("time_faaaa"),
    receptance: read("receptance.weight"),
    key: read("key.weight"),
    value: read("value.weight"),
    gate: read("gate.weight"),
    output: read("output.weight"),
    headNorm: { ...readNorm(model, `${prefix}.ln_x`, groupNormEps), groups: heads },
  };
}

function loadChannelMix(model: Model, prefix: string): LayerWeights["channelMix"] {
  const read = (name: string): Float32Array => model.tensor(`${prefix}.${name}`);
  return {
    mixKey: read("time_mix_k"),
    mixReceptance: read("time_mix_r"),
    key: read("key.weight"),
    receptance: read("receptance.weight"),
    value: read("value.weight"),
  };
}

function readNorm(model: Model, name: string, eps: number): Norm {
  return { weight: model.tensor(`${name}.weight`), bias: model.tensor(`${name}.bias`), eps };
}
