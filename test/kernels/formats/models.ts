/** One small v5.2 model in every form in which people have it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { canonicalTensors, type ModelConfig } from "#kernels/model/config.ts";
import { writeSafetensors } from "#kernels/model/safetensors.ts";
import { type Dtype, type Tensor, torchFile, widthOf } from "./torch-file.ts";

export const config: ModelConfig = {
  version: "5.2",
  layers: 2,
  width: 16,
  heads: 2,
  headSize: 8,
  ffnWidth: 24,
  vocabSize: 10,
  groupNormEps: 64e-5,
  layerNormEps: 1e-5,
};

/** Different bytes for every tensor; `time_mix` is [1, 1, D], as BlinkDL stores it. */
export function weights(dtype: (name: string) => Dtype = () => "BF16", of = config): Tensor[] {
  return [...canonicalTensors(of)].map(([name, canonical], index) => {
    const shape = name.includes("time_mix") ? [1, 1, ...canonical] : canonical;
    const elements = shape.reduce((product, extent) => product * extent, 1);
    const data = Buffer.alloc(elements * widthOf[dtype(name)]);
    for (let at = 0; at < data.length; at++) data[at] = (at * 7 + index * 13) % 120;
    return { name, dtype: dtype(name), shape, data };
  });
}

export function renamed(tensors: readonly Tensor[], rename: (name: string) => string): Tensor[] {
  return tensors.map((tensor) => ({ ...tensor, name: rename(tensor.name) }));
}

const mixes: Readonly<Record<string, string>> = {
  k: "key",
  v: "value",
  r: "receptance",
  g: "gate",
};

/** As convert_rwkv5_checkpoint_to_hf.py does it. */
export function toHuggingFace(name: string): string {
  if (name === "head.weight") return name;
  const inner = name
    .replace("emb.", "embeddings.")
    .replace("blocks.0.ln0", "blocks.0.pre_ln")
    .replace(".att.", ".attention.")
    .replace(".ffn.", ".feed_forward.")
    .replace(/time_mix_(.)$/, (_, mix: string) => `time_mix_${mixes[mix]}`);
  return `rwkv.${inner}`;
}

/** As convert_safetensors.py of web-rwkv does it. */
export function toWebRwkv(name: string): string {
  return name.toLowerCase().replace("time_faaaa", "time_first");
}

export function writePth(path: string, tensors: readonly Tensor[]): string {
  writeFileSync(path, torchFile(tensors));
  return path;
}

export function writeTwin(path: string, tensors: readonly Tensor[]): string {
  // In another order, so that equal output is not an accident.
  const sources = tensors.toReversed().map(({ data, ...rest }) => ({ ...rest, bytes: () => data }));
  writeSafetensors(path, sources);
  return path;
}

/** `stem-0000i-of-0000n.suffix` and the index that names them. */
export function writeShards(
  directory: string,
  stem: "model.safetensors" | "pytorch_model.bin",
  tensors: readonly Tensor[],
): void {
  const [base, suffix] = stem.split(".");
  const half = Math.ceil(tensors.length / 2);
  const map: Record<string, string> = {};
  [tensors.slice(0, half), tensors.slice(half)].forEach((part, index) => {
    const file = `${base}-0000${index + 1}-of-00002.${suffix}`;
    const write = suffix === "bin" ? writePth : writeTwin;
    write(join(directory, file), part);
    for (const { name } of part) map[name] = file;
  });
  writeFileSync(join(directory, `${stem}.index.json`), JSON.stringify({ weight_map: map }));
}
