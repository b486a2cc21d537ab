/**
 * A model directory: `model.json`, one safetensors file, perhaps a vocabulary.
 *
 * `openModel` promises that the weights are those of an RWKV-v5.2 model and complete: every tensor of
 * `canonicalTensors` is there with its shape, and no other. The shape of the model comes from the
 * weights alone. What does not hold is refused by name: `MODEL_NOT_FOUND`, `MODEL_BROKEN` or
 * `MODEL_VERSION`, before any weight is read. Whether the numbers are finite is not checked here.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ModelError, systemErrorCode } from "#kernels/errors.ts";
import { canonicalTensors, type ModelConfig } from "./config.ts";
import { isFloatDtype, SafetensorsFile, type TensorLocation } from "./safetensors.ts";
import { detectVersion, versionAdvice } from "./version.ts";

/** ChatRWKV, rwkv/model.py: 1e-5 · 8², because training divides the input of the norm by 8. */
export const worldGroupNormEps = 64e-5;
const layerNormEps = 1e-5;
const headSizeMin = 8;
const headSizeMax = 128;

/** A name inside the directory: a model may not point elsewhere on the disk. */
const fileName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, "must be a plain file name");

const descriptionSchema = z.strictObject({
  format: z.literal(1),
  name: z.string().min(1).max(100),
  weights: fileName.default("weights.safetensors"),
  vocabulary: fileName.optional(),
  groupNormEps: z.number().positive().max(1).default(worldGroupNormEps),
  /** What the model's maker recommends; whoever samples may differ. */
  sampling: z
    .strictObject({
      temperature: z.number().min(0),
      topP: z.number().min(0).max(1),
      presencePenalty: z.number(),
      frequencyPenalty: z.number(),
      penaltyDecay: z.number().min(0).max(1),
    })
    .partial()
    .optional(),
  /** Free words about the model: languages, licence, training. */
  card: z.record(z.string(), z.unknown()).optional(),
});

export type ModelDescription = z.infer<typeof descriptionSchema>;

export interface Model {
  readonly directory: string;
  readonly name: string;
  readonly description: ModelDescription;
  readonly config: ModelConfig;
  readonly weightsPath: string;
  /** Null when the directory holds none. */
  readonly vocabularyPath: string | null;
  /** The numbers of a canonical tensor, widened to fp32; a fresh array at each call. */
  tensor(name: string): Float32Array<ArrayBuffer>;
  /** Where a canonical tensor lies inside `weightsPath`, for backends that map it in place. */
  location(name: string): TensorLocation;
  /**
   * 16 hex digits of SHA-256 over the weights file and the norm's eps: equal fingerprints mean that
   * a state of one model is a state of the other. Reads the whole file at the first call.
   */
  fingerprint(): Promise<string>;
  close(): void;
}

export async function openModel(directory: string): Promise<Model> {
  const description = await readDescription(directory);
  const weightsPath = join(directory, description.weights);
  const weights = SafetensorsFile.open(weightsPath);
  let config: ModelConfig;
  try {
    config = readConfig(weights, description.groupNormEps);
  } catch (error) {
    weights.close();
    throw error;
  }
  const vocabularyPath =
    description.vocabulary === undefined ? null : join(directory, description.vocabulary);
  let fingerprint: Promise<string> | undefined;
  return {
    directory,
    name: description.name,
    description,
    config,
    weightsPath,
    vocabularyPath: vocabularyPath !== null && existsSync(vocabularyPath) ? vocabularyPath : null,
    tensor: (name) => weights.read(name),
    location: (name) => weights.location(name),
    fingerprint: () => (fingerprint ??= hashWeights(weightsPath, config.groupNormEps)),
    close: () => weights.close(),
  };
}

async function readDescription(directory: string): Promise<ModelDescription> {
  const path = join(directory, "model.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const missing = ["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "");
    const code = missing ? "MODEL_NOT_FOUND" : "MODEL_BROKEN";
    const reason = missing ? "no model.json" : (error as Error).message;
    throw new ModelError(code, { path: directory, reason }, { cause: error });
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ModelError("MODEL_BROKEN", { path, reason: "not JSON" }, { cause: error });
  }
  const description = descriptionSchema.safeParse(parsed);
  if (!description.success) {
    const [issue] = description.error.issues;
    const field = issue?.path.join(".") ?? "";
    const reason = `${field === "" ? "" : `${field}: `}${issue?.message ?? "invalid"}`;
    throw new ModelError("MODEL_BROKEN", { path, reason });
  }
  return description.data;
}

/** Shapes to configuration, and the proof that the weights are what the configuration says. */
function readConfig(weights: SafetensorsFile, groupNormEps: number): ModelConfig {
  const broken = (reason: string): ModelError =>
    new ModelError("MODEL_BROKEN", { path: weights.path, reason });
  const shapes = new Map([...weights.tensors].map(([name, { shape }]) => [name, shape] as const));

  const version = detectVersion(shapes);
  if (version === null) throw broken("not-rwkv: no tensor blocks.0.att.time_decay");
  if (version !== "5.2") {
    const values = { path: weights.path, version, reason: versionAdvice[version] };
    throw new ModelError("MODEL_VERSION", values);
  }

  const [heads = 0, headSize = 0] = shapes.get("blocks.0.att.time_decay") ?? [];
  const [vocabSize = 0, width = 0] = shapes.get("emb.weight") ?? [];
  const [ffnWidth = 0] = shapes.get("blocks.0.ffn.key.weight") ?? [];
  const layers = countLayers(shapes.keys());
  if (headSize < headSizeMin || headSize > headSizeMax) {
    throw broken(`head-size: ${headSize}, must be ${headSizeMin} to ${headSizeMax}`);
  }
  if (heads === 0 || vocabSize === 0 || ffnWidth === 0) {
    throw broken(`empty: ${heads} heads, ${vocabSize} tokens, channel-mix ${ffnWidth} wide`);
  }
  if (width !== heads * headSize) {
    throw broken(`width: emb.weight is ${width} wide, ${heads} heads of ${headSize} are not`);
  }
  const sizes = { layers, width, heads, headSize, ffnWidth, vocabSize };
  const config: ModelConfig = { version, ...sizes, groupNormEps, layerNormEps };
  const mismatch = compareTensors(shapes, canonicalTensors(config));
  if (mismatch !== null) throw broken(mismatch);
  for (const { name, dtype } of weights.tensors.values()) {
    if (!isFloatDtype(dtype)) {
      throw broken(`dtype-not-read: ${name} is ${dtype}; F32, F16 and BF16 are read`);
    }
  }
  return config;
}

/** One more than the highest block named, so that a block missing in between is missed by name. */
function countLayers(names: Iterable<string>): number {
  let layers = 0;
  for (const name of names) {
    const block = /^blocks\.(\d{1,3})\./.exec(name)?.[1];
    if (block !== undefined) layers = Math.max(layers, Number(block) + 1);
  }
  return layers;
}

/** The first difference in words, or null. Names at most three tensors of a kind. */
function compareTensors(
  found: ReadonlyMap<string, readonly number[]>,
  expected: ReadonlyMap<string, readonly number[]>,
): string | null {
  const missing = [...expected.keys()].filter((name) => !found.has(name));
  if (missing.length > 0) return `missing-tensor: ${listed(missing)}`;
  const unknown = [...found.keys()].filter((name) => !expected.has(name));
  if (unknown.length > 0) return `unknown-tensor: ${listed(unknown)}`;
  for (const [name, shape] of expected) {
    const actual = found.get(name) ?? [];
    if (squeezed(actual) !== squeezed(shape)) {
      return `shape: ${name} is [${actual.join(", ")}], expected [${shape.join(", ")}]`;
    }
  }
  return null;
}

/** BlinkDL stores vectors as [1, 1, D]; extents of 1 change no byte. */
function squeezed(shape: readonly number[]): string {
  return shape.filter((extent) => extent !== 1).join("x");
}

function listed(names: readonly string[]): string {
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  return `${names.slice(0, 3).join(", ")}${more}`;
}

async function hashWeights(path: string, groupNormEps: number): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
  }
  hash.update(`groupNormEps=${groupNormEps}`);
  return hash.digest("hex").slice(0, 16);
}
