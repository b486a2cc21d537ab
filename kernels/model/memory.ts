/**
 * What a model takes in memory and on the disk, from its shape alone.
 *
 * Memory is what the onnx backend keeps for itself (anonymous, not the file cache): about 0.1 GiB of the
 * process; every tensor but the embedding, which stays in the mapped file; for each slot its state
 * twice in fp32, as a step writes fresh ones before it lets go of the old, and a row of logits; and
 * what a step of 256 prompt tokens leaves in onnxruntime's arena, about 10 rows of width D for each
 * layer and token (measured at 0.4B and 1.5B). `eyrie bench engine` measures the sum.
 */
import { canonicalTensors, type ModelConfig, stateLength } from "./config.ts";
import { type Variant, variantTensors } from "./quantise/layout.ts";
import { bytesPerElement, type Dtype } from "./safetensors-header.ts";

const processBytes = 100 << 20;
/** Tokens of a prompt that a step is fed at most: `prefillTokensMax` of the worker's scheduler. */
export const promptTokensMax = 256;
const activationRows = 10;
const fp32Bytes = 4;

export interface MemoryNeeds {
  /** All of them are read once in every step. */
  readonly weightsBytes: number;
  readonly statesBytes: number;
  readonly bytes: number;
}

/** `variant` null: the unquantised weights, widened to fp32. */
export function memoryNeeds(
  config: ModelConfig,
  variant: Variant | null,
  slots: number,
): MemoryNeeds {
  const weightsBytes = tensorsOf(config, variant)
    .filter(({ name }) => name !== "emb.weight")
    .reduce((sum, { shape, dtype }) => sum + elements(shape) * elementBytes(dtype, "F32"), 0);
  const statesBytes = 2 * slots * fp32Bytes * stateLength(config);
  const logitsBytes = slots * fp32Bytes * config.vocabSize;
  const { layers, width } = config;
  const activationBytes = fp32Bytes * activationRows * layers * width * promptTokensMax;
  const ownBytes = processBytes + statesBytes + logitsBytes + activationBytes;
  return { weightsBytes, statesBytes, bytes: weightsBytes + ownBytes };
}

/** Of the file, when what is not quantised lies in it as `dtype`. */
export function fileBytes(config: ModelConfig, variant: Variant | null, dtype: Dtype): number {
  return tensorsOf(config, variant).reduce(
    (sum, tensor) => sum + elements(tensor.shape) * elementBytes(tensor.dtype, dtype),
    0,
  );
}

export function parameterCount(config: ModelConfig): number {
  return [...canonicalTensors(config).values()].reduce((sum, shape) => sum + elements(shape), 0);
}

function tensorsOf(config: ModelConfig, variant: Variant | null) {
  if (variant !== null) return variantTensors(config, variant);
  return [...canonicalTensors(config)].map(([name, shape]) => ({ name, shape, dtype: null }));
}

function elementBytes(dtype: Dtype | null, otherwise: Dtype): number {
  return bytesPerElement(dtype ?? otherwise);
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}
