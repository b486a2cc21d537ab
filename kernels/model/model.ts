/**
 * A model directory: `model.json`, the weights as safetensors, quantised variants of them, perhaps a
 * vocabulary.
 *
 * `openModel` promises that the weights are those of an RWKV-v5.2 model and complete: every tensor of
 * `canonicalTensors` (of a variant: of `variantTensors`) is there with its shape, and no other. The
 * shape of the model comes from the weights alone. What does not hold is refused by name:
 * `MODEL_NOT_FOUND`, `MODEL_BROKEN`, `MODEL_VERSION` or `MODEL_VARIANT_MISSING`, before any weight is
 * read. Whether the numbers are finite is not checked here.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "#kernels/errors.ts";
import { canonicalTensors, type ModelConfig } from "./config.ts";
import { type ModelDescription, readDescription } from "./description.ts";
import { type BlockShape, dequantiseRows } from "./quantise/blocks.ts";
import {
  blockShape,
  codesSuffix,
  isQuantisedMatrix,
  type Quantise,
  readVariant,
  scalesSuffix,
  type Variant,
} from "./quantise/layout.ts";
import { readConfig } from "./read-config.ts";
import { SafetensorsFile, type TensorLocation } from "./safetensors.ts";

export { type ModelDescription, worldGroupNormEps } from "./description.ts";

export interface OpenModelOptions {
  /** Left out: the unquantised weights if they are there, else q8, else q4. */
  readonly quantise?: Quantise | undefined;
}

/** A matrix of a variant, in place: `[rows, columns]` in blocks along its columns. */
export interface QuantisedMatrix extends BlockShape {
  readonly rows: number;
  readonly codes: TensorLocation;
  readonly scales: TensorLocation;
}

export interface Model {
  readonly directory: string;
  readonly name: string;
  readonly description: ModelDescription;
  readonly config: ModelConfig;
  /** Null for the unquantised weights. */
  readonly variant: Variant | null;
  readonly weightsPath: string;
  /** Null when the directory holds none. */
  readonly vocabularyPath: string | null;
  /** The numbers of a canonical tensor in fp32, dequantised if need be; a fresh array at each call. */
  tensor(name: string): Float32Array<ArrayBuffer>;
  /** Where a canonical tensor lies inside `weightsPath`, for backends that map it in place. */
  location(name: string): TensorLocation;
  /** Where a quantised matrix lies; null for tensors that `location` knows. */
  quantised(name: string): QuantisedMatrix | null;
  /**
   * 16 hex digits of SHA-256 over the unquantised weights and the norm's eps: equal fingerprints mean
   * that a state of one model is a state of the other. So a variant has the fingerprint of what it was
   * made from. Reads the whole file at the first call, of a variant only what it says of itself.
   */
  fingerprint(): Promise<string>;
  close(): void;
}

export async function openModel(directory: string, options: OpenModelOptions = {}): Promise<Model> {
  const description = await readDescription(directory);
  const { vocabulary } = description;
  const vocabularyPath = vocabulary === undefined ? null : join(directory, vocabulary);
  const quantise = options.quantise ?? variantsOf(description)[0] ?? "none";
  const weights = SafetensorsFile.open(weightsPathOf(directory, description, quantise));
  try {
    const opened = openWeights(weights, description, quantise);
    return {
      directory,
      name: description.name,
      description,
      vocabularyPath: vocabularyPath !== null && existsSync(vocabularyPath) ? vocabularyPath : null,
      ...opened,
    };
  } catch (error) {
    weights.close();
    throw error;
  }
}

/** What a directory says it holds, in the order in which it is opened when nothing is asked for. */
export function variantsOf({ weights, quantised = {} }: ModelDescription): Quantise[] {
  const kinds = (["q8", "q4"] as const).filter((kind) => quantised[kind] !== undefined);
  return weights === null ? kinds : ["none", ...kinds];
}

function weightsPathOf(
  directory: string,
  description: ModelDescription,
  quantise: Quantise,
): string {
  const { weights, quantised = {} } = description;
  const file = quantise === "none" ? weights : quantised[quantise]?.weights;
  if (typeof file === "string") return join(directory, file);
  const found = variantsOf(description).join(", ");
  throw new ModelError("MODEL_VARIANT_MISSING", { path: directory, quantise, found });
}

function openWeights(
  weights: SafetensorsFile,
  description: ModelDescription,
  quantise: Quantise,
): Omit<Model, "directory" | "name" | "description" | "vocabularyPath"> {
  const { groupNormEps } = description;
  const told = quantise === "none" ? null : readVariant(weights.metadata, quantise);
  if (told !== null && "reason" in told) {
    throw new ModelError("MODEL_BROKEN", { path: weights.path, reason: told.reason });
  }
  const variant = told?.variant ?? null;
  if (variant !== null && variant.block !== description.quantised?.[variant.quantise]?.block) {
    const reason = `variant-block: ${variant.block}, model.json says otherwise`;
    throw new ModelError("MODEL_BROKEN", { path: weights.path, reason });
  }
  const config = readConfig(weights, { groupNormEps, variant });
  const shapes = canonicalTensors(config);
  const quantised = (name: string): QuantisedMatrix | null => {
    const shape = shapes.get(name) ?? [];
    if (variant === null || !isQuantisedMatrix(name, shape)) return null;
    const [rows = 0, columns = 0] = shape;
    const codes = weights.location(`${name}${codesSuffix}`);
    const scales = weights.location(`${name}${scalesSuffix}`);
    return { ...blockShape(name, columns, variant), rows, codes, scales };
  };
  const tensor = (name: string): Float32Array<ArrayBuffer> => {
    const matrix = quantised(name);
    return matrix === null ? weights.read(name) : dequantised(weights, matrix);
  };
  let fingerprint: Promise<string> | undefined;
  return {
    config,
    variant,
    weightsPath: weights.path,
    tensor,
    location: (name) => weights.location(name),
    quantised,
    fingerprint: () => (fingerprint ??= readFingerprint(weights.path, { groupNormEps, ...told })),
    close: () => weights.close(),
  };
}

function dequantised(weights: SafetensorsFile, matrix: QuantisedMatrix): Float32Array<ArrayBuffer> {
  const codes = weights.readBytes(matrix.codes.name);
  const scales = weights.read(matrix.scales.name);
  const numbers = new Float32Array(matrix.rows * matrix.columns);
  dequantiseRows(numbers, { codes, scales }, matrix);
  return numbers;
}

async function readFingerprint(
  path: string,
  told: { readonly groupNormEps: number; readonly source?: string },
): Promise<string> {
  const source = told.source ?? (await hashFile(path));
  const text = `${source} groupNormEps=${told.groupNormEps}`;
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** SHA-256 in hex. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}
