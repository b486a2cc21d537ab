/**
 * Writes a random RWKV-v5.2 model directory, for tests and benchmarks that need a shape and not a
 * meaning. Equal shape and options give equal bytes.
 *
 * The numbers are well conditioned: matrices keep the variance of their input, decays spread over
 * all speeds a trained model shows (half-lives from one token to some thousands), norms are near 1.
 * So activations neither die nor explode, and rounding errors stay comparable to a trained model's.
 *
 * With `quantise` only that variant is written, straight in its own layout: the codes of all matrices
 * are pieces of one tile of 4 MiB of random bytes, so that a 7B model takes seconds and little memory.
 */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { canonicalTensors, type ModelConfig } from "./config.ts";
import { worldGroupNormEps } from "./model.ts";
import type { Bits } from "./quantise/blocks.ts";
import {
  bitsOf,
  blockDefault,
  type BlockSize,
  codesSuffix,
  type QuantisedKind,
  scalesSuffix,
  type Variant,
  variantFileName,
  variantMetadata,
  variantTensors,
} from "./quantise/layout.ts";
import { type FloatDtype, type TensorSource, writeSafetensors } from "./safetensors.ts";

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
  /** Writes this variant and no other weights. */
  readonly quantise?: QuantisedKind;
  /** Of the variant. */
  readonly block?: BlockSize;
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
  const { quantise, block = blockDefault } = options;
  const described = { format: 1, name, groupNormEps };
  if (quantise === undefined) {
    writeSafetensors(join(directory, "weights.safetensors"), plainTensors(config, seed, dtype));
    writeDescription(directory, { ...described, weights: "weights.safetensors" });
    return config;
  }
  const variant = { quantise, block };
  const weights = variantFileName(quantise);
  const source = createHash("sha256")
    .update(JSON.stringify([shape, seed]))
    .digest("hex");
  const tensors = quantisedTensors(config, seed, variant);
  writeSafetensors(join(directory, weights), tensors, variantMetadata(variant, source));
  writeDescription(directory, {
    ...described,
    weights: null,
    quantised: { [quantise]: { weights, block } },
  });
  return config;
}

function writeDescription(directory: string, description: object): void {
  writeFileSync(join(directory, "model.json"), `${JSON.stringify(description, null, 2)}\n`);
}

function plainTensors(config: ModelConfig, seed: number, dtype: FloatDtype): TensorSource[] {
  const uniform = uniformGenerator(seed);
  return [...canonicalTensors(config)].map(([name, shape]) => ({
    name,
    dtype,
    shape,
    bytes: () => encode(fill(name, shape, uniform), dtype),
  }));
}

function quantisedTensors(config: ModelConfig, seed: number, variant: Variant): TensorSource[] {
  const uniform = uniformGenerator(seed);
  const tiles = { 4: codeTile(4, uniform), 8: codeTile(8, uniform) };
  const shapes = canonicalTensors(config);
  return variantTensors(config, variant).map(({ name, shape }, index): TensorSource => {
    const elements = shape.reduce((product, extent) => product * extent, 1);
    if (name.endsWith(codesSuffix)) {
      const tile = tiles[bitsOf(name.slice(0, -codesSuffix.length), variant.quantise)];
      // Another place of the tile for each matrix; odd, so that no two go in step.
      const start = (index * 1_000_003) % tile.length;
      return { name, dtype: "U8", shape, bytes: () => pieces(tile, start, elements) };
    }
    if (name.endsWith(scalesSuffix)) {
      const matrix = name.slice(0, -scalesSuffix.length);
      const [, columns = 1] = shapes.get(matrix) ?? [];
      const steps = codeDeviation(bitsOf(matrix, variant.quantise));
      const scales = new Float32Array(elements).fill(1 / (steps * Math.sqrt(columns)));
      return { name, dtype: "F32", shape, bytes: () => new Uint8Array(scales.buffer) };
    }
    if (name !== "emb.weight") {
      return { name, dtype: "F32", shape, bytes: () => encode(fill(name, shape, uniform), "F32") };
    }
    const rows = encode(fill(name, [1 << 10, 1 << 10], uniform), "F16");
    return { name, dtype: "F16", shape, bytes: () => pieces(rows, 0, 2 * elements) };
  });
}

const tileBytes = 4 << 20;

/** Random codes without 0, so that as many lie above the code of zero as below. */
function codeTile(bits: Bits, uniform: () => number): Uint8Array {
  const values = 2 ** bits - 1;
  const code = (): number => 1 + Math.floor(uniform() * values);
  return new Uint8Array(tileBytes).map(() => (bits === 8 ? code() : code() | (code() << 4)));
}

/** Standard deviation of the codes of `codeTile`. */
function codeDeviation(bits: Bits): number {
  return Math.sqrt(((2 ** bits - 1) ** 2 - 1) / 12);
}

/** `bytes` bytes: the tile again and again, the first time from `start`. */
function* pieces(tile: Uint8Array, start: number, bytes: number): Generator<Uint8Array> {
  for (let at = start, left = bytes; left > 0; at = 0) {
    const piece = tile.subarray(at, at + left);
    yield piece;
    left -= piece.length;
  }
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
