/**
 * The shape of an RWKV-v5.2 ("Eagle") model, read from its weights and never assumed.
 *
 * Canonical tensor names are BlinkDL's own (`emb.weight`, `blocks.0.att.key.weight`, …); linear
 * weights are `[out, in]`. See `canonicalTensors` for every name and shape.
 */

/** Everything the numbers of a model depend on besides the weights. */
export interface ModelConfig {
  /** Always "5.2": other versions are refused when a model is opened. */
  readonly version: "5.2";
  /** L */
  readonly layers: number;
  /** D = H · N */
  readonly width: number;
  /** H */
  readonly heads: number;
  /** N, 8 … 128 */
  readonly headSize: number;
  /** F, the inner width of channel-mix */
  readonly ffnWidth: number;
  /** V, rows of the embedding and of the head */
  readonly vocabSize: number;
  /** eps of the per-head GroupNorm; World models: 64e-5 (ChatRWKV, rwkv/model.py) */
  readonly groupNormEps: number;
  /** eps of every LayerNorm: 1e-5 */
  readonly layerNormEps: number;
}

/** Numbers in one canonical state: L · D · (N + 2). */
export function stateLength(config: ModelConfig): number {
  return config.layers * config.width * (config.headSize + 2);
}

/** Name → shape of every tensor of a v5.2 model, in canonical order. */
export function canonicalTensors(config: ModelConfig): Map<string, readonly number[]> {
  const { layers, width: D, heads: H, headSize: N, ffnWidth: F, vocabSize: V } = config;
  const tensors = new Map<string, readonly number[]>();
  tensors.set("emb.weight", [V, D]);
  tensors.set("blocks.0.ln0.weight", [D]);
  tensors.set("blocks.0.ln0.bias", [D]);
  for (let layer = 0; layer < layers; layer++) {
    const block = `blocks.${layer}`;
    for (const norm of ["ln1", "ln2"]) {
      tensors.set(`${block}.${norm}.weight`, [D]);
      tensors.set(`${block}.${norm}.bias`, [D]);
    }
    for (const mix of ["k", "v", "r", "g"]) tensors.set(`${block}.att.time_mix_${mix}`, [D]);
    tensors.set(`${block}.att.time_decay`, [H, N]);
    tensors.set(`${block}.att.time_faaaa`, [H, N]);
    for (const matrix of ["receptance", "key", "value", "gate", "output"]) {
      tensors.set(`${block}.att.${matrix}.weight`, [D, D]);
    }
    tensors.set(`${block}.att.ln_x.weight`, [D]);
    tensors.set(`${block}.att.ln_x.bias`, [D]);
    for (const mix of ["k", "r"]) tensors.set(`${block}.ffn.time_mix_${mix}`, [D]);
    tensors.set(`${block}.ffn.key.weight`, [F, D]);
    tensors.set(`${block}.ffn.receptance.weight`, [D, D]);
    tensors.set(`${block}.ffn.value.weight`, [D, F]);
  }
  tensors.set("ln_out.weight", [D]);
  tensors.set("ln_out.bias", [D]);
  tensors.set("head.weight", [V, D]);
  return tensors;
}
