/**
 * Writes a random RWKV-v5.2 model directory, for tests and benchmarks that need a shape and not a
 * meaning. Equal shape and options give equal bytes.
 *
 * The numbers are well conditioned: matrices keep the variance of their input, decays spread over
 * all speeds a trained model shows (half-lives from one token to some thousands), norms are near 1.
 * So activations neither die nor explode, and rounding errors stay comparable to a trained model's.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { canonicalTensors, type ModelConfig } from "./config.ts";
import { worldGroupNormEps } from "./model.ts";
import { type FloatDtype, writeSafetensors } from "./safetensors.ts";

export interface RandomModelShape {
  readonly layers: number;
  readonly heads: number;
  readonly headSize: number;
  readonly ffnWidth: number;
  readonly vocabSize: number;
}

export interface RandomModelOptions {
  readonly seed: number;
  readonly dtype?: FloatDtype;
  readonly groupNormEps?: number;
  readonly name?: string;
}

export function writeRandomModel(
  directory: string,
  shape: RandomModelShape,
  options: RandomModelOptions,
): ModelConfig {
  const { seed, dtype = "F32", groupNormEps = worldGroupNormEps, name = "random" } = options;
  const config: ModelConfig = {
    version: "5.2",
    ...shape,
    width: shape.heads * shape.headSize,
    groupNormEps,
    layerNormEps: 1e-5,
  };
  mkdirSync(directory, { recursive: true });
  const uniform = uniformGenerator(seed);
  const sources = [...canonicalTensors(config)].map(([tensor, extents]) => ({
    name: tensor,
    dtype,
    shape: extents,
    bytes: () => encode(fill(tensor, extents, uniform), dtype),
  }));
  writeSafetensors(join(directory, "weights.safetensors"), sources);
  const description = { format: 1, name, weights: "weights.safetensors", groupNormEps };
  writeFileSync(join(directory, "model.json"), `${JSON.stringify(description, null, 2)}\n`);
  return config;
}

/** Low and high end of the uniform distribution a tensor is drawn from. */
function rangeOf(name: string, shape: readonly number[]): readonly [number, number] {
  if (name.includes("time_mix")) return [0, 1];
  // w = exp(-exp(decay)): -6 forgets half in 280 tokens, 1 in a quarter of a token.
  if (name.endsWith("time_decay")) return [-6, 1];
  if (name.endsWith("time_faaaa")) return [-0.5, 1];
  if (name.endsWith(".bias")) return [-0.1, 0.1];
  if (shape.length === 1) return [0.8, 1.2];
  const inputs = name === "emb.weight" ? 1 : shape[1]!;
  const spread = Math.sqrt(3 / inputs);
  return [-spread, spread];
}

function fill(name: string, shape: readonly number[], uniform: () => number) {
  const [low, high] = rangeOf(name, shape);
  const numbers = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  for (let i = 0; i < numbers.length; i++) numbers[i] = low + (high - low) * uniform();
  return numbers;
}

function encode(numbers: Float32Array<ArrayBuffer>, dtype: FloatDtype): Uint8Array {
  if (dtype === "F32") return new Uint8Array(numbers.buffer);
  if (dtype === "F16") return new Uint8Array(new Float16Array(numbers).buffer);
  const upperHalves = Uint16Array.from(new Uint32Array(numbers.buffer), (bits) => bits >>> 16);
  return new Uint8Array(upperHalves.buffer);
}

/** mulberry32 (T. Ettinger, public domain): 32 bits of state, enough for test weights. */
function uniformGenerator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
