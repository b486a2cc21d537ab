/**
 * Weights as users have them into a model directory of ours.
 *
 * Everything that can be refused is refused before the first byte is written: what the file is, every
 * tensor's name and shape, the room on the disk. Then tensors are streamed one by one through a
 * buffer of 4 MiB, in canonical order and with their numbers untouched, so that the same weights give
 * the same bytes from any container. Quantised variants are made from that file (`quantise/`), which
 * is thrown away afterwards where only they are wanted. The directory appears whole or not at all
 * (`formats/output-directory.ts`), and only after `openModel` has accepted everything in it.
 */
import { existsSync } from "node:fs";
import { open, readFile, rm, statfs } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { ModelError, systemErrorCode } from "#kernels/errors.ts";
import { openWeights, type Weights } from "./formats/container.ts";
import { OutputDirectory } from "./formats/output-directory.ts";
import { type StreamOptions, WeightsStream } from "./formats/stream.ts";
import { type WholeModel, wholeModel } from "./formats/whole.ts";
import type { VariantQuality } from "./description.ts";
import { type Model, type ModelDescription, openModel, worldGroupNormEps } from "./model.ts";
import {
  blockDefault,
  type BlockSize,
  type Quantise,
  type QuantisedKind,
  type Variant,
  variantFileName,
} from "./quantise/layout.ts";
import { quantiseWeights, variantBytes } from "./quantise/stream.ts";
import { SafetensorsFile } from "./safetensors.ts";
import { refuseIdsBeyond } from "./vocabulary-fit.ts";

/** For the small files beside the weights. */
const reserveBytes = 16 << 20;
const weightsName = "weights.safetensors";
const vocabularyName = "vocab.txt";

export interface ConvertOptions extends StreamOptions {
  readonly vocabulary?: CheckedVocabulary | undefined;
  readonly groupNormEps?: number | undefined;
  readonly name?: string | undefined;
  /** Replace a model directory that is there. */
  readonly force?: boolean | undefined;
  /** What to write; left out: the weights as they are, and nothing else. */
  readonly quantise?: readonly Quantise[] | undefined;
  /** Of all variants. */
  readonly block?: BlockSize | undefined;
  /** Asked once all files are there, to be written into `model.json`. */
  readonly measure?:
    | ((directory: string, kinds: QuantisedKind[]) => Promise<Qualities>)
    | undefined;
  /** Called once, before the first byte, with what will be written. */
  readonly onPlan?: ((plan: ConvertPlan) => void) | undefined;
}

export type Qualities = ReadonlyMap<QuantisedKind, VariantQuality>;

/** A vocabulary file that was found good, and the highest id in it. */
export interface CheckedVocabulary {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly tokenIdMax: number;
}

export interface ConvertPlan {
  /** Container and names, in words: "torch, BlinkDL names". */
  readonly from: string;
  readonly tensors: number;
  /** Of all files of weights. */
  readonly bytes: number;
}

interface OwnDirectory {
  readonly description: ModelDescription;
  readonly weightsPath: string;
  readonly vocabulary: Uint8Array | undefined;
}

/** `input`: a file of weights, an index of shards, or a directory that holds one. */
export async function convertModel(
  input: string,
  directory: string,
  options: ConvertOptions,
): Promise<void> {
  let neededBytes = reserveBytes;
  const own = await ownDirectory(input);
  const weights = await openWeights(own === null ? input : own.weightsPath);
  try {
    const model = wholeModel(weights, input);
    const vocabulary = options.vocabulary?.bytes ?? own?.vocabulary;
    if (options.vocabulary !== undefined)
      refuseIdsBeyond(model.config.vocabSize, options.vocabulary);
    const description = describe(input, { ...options, base: own?.description, vocabulary });
    const variants = variantsToMake(options);
    const { force = false } = options;
    const output = await OutputDirectory.prepare(directory, { force, input });
    const stream = new WeightsStream(model.tensors);
    const bytes = variants.reduce(
      (sum, variant) => sum + variantBytes(model, variant),
      stream.bytes,
    );
    neededBytes += bytes;
    await refuseFullDisk(output.parent, neededBytes);
    options.onPlan?.({ ...planOf(weights, model), bytes });
    const work = { stream, variants, description, vocabulary, options };
    await output.fill((staging) => write(staging, work));
  } catch (error) {
    throw explained(error, directory, neededBytes);
  } finally {
    await weights.close();
  }
}

interface Work {
  readonly stream: WeightsStream;
  readonly variants: readonly Variant[];
  readonly description: ModelDescription;
  readonly vocabulary: Uint8Array | undefined;
  readonly options: ConvertOptions;
}

async function write(staging: string, work: Work): Promise<void> {
  const { stream, variants, description, vocabulary, options } = work;
  const sha256 = await stream.write(join(staging, weightsName), options);
  if (vocabulary !== undefined) await writeSynced(join(staging, vocabularyName), vocabulary);
  options.signal?.throwIfAborted();
  await writeDescription(staging, description);
  const { config, weightsPath } = await opened(staging, "none");
  if (variants.length === 0) return;

  const weights = SafetensorsFile.open(weightsPath);
  let done = stream.bytes;
  try {
    for (const variant of variants) {
      const path = join(staging, variantFileName(variant.quantise));
      const onProgress = (bytes: number): void => options.onProgress?.(done + bytes);
      const { signal } = options;
      const source = { config, weights, sha256 };
      done += await quantiseWeights(source, { path, variant }, { signal, onProgress });
    }
  } finally {
    weights.close();
  }
  await describeVariants(staging, work);
}

/** Once with what is there to be measured, and again with the figures and only what stays. */
async function describeVariants(staging: string, work: Work): Promise<void> {
  const { variants, description, options } = work;
  const kinds = variants.map(({ quantise }) => quantise);
  const listed = (qualities: Qualities | undefined) =>
    Object.fromEntries(
      variants.map(({ quantise, block }) => {
        const quality = qualities?.get(quantise);
        const weights = variantFileName(quantise);
        return [quantise, { weights, block, ...(quality === undefined ? {} : { quality }) }];
      }),
    );
  await writeDescription(staging, { ...description, quantised: listed(undefined) });
  const qualities = await options.measure?.(staging, kinds);
  options.signal?.throwIfAborted();
  const keepsPlain = options.quantise?.includes("none") ?? true;
  if (!keepsPlain) await rm(join(staging, weightsName));
  const weights = keepsPlain ? weightsName : null;
  await writeDescription(staging, { ...description, weights, quantised: listed(qualities) });
  for (const kind of kinds) await opened(staging, kind);
}

async function opened(directory: string, quantise: Quantise): Promise<Model> {
  const model = await openModel(directory, { quantise });
  model.close();
  return model;
}

async function writeDescription(directory: string, description: ModelDescription): Promise<void> {
  const path = join(directory, "model.json");
  await rm(path, { force: true });
  await writeSynced(path, Buffer.from(`${JSON.stringify(description, null, 2)}\n`));
}

function variantsToMake({ quantise = [], block = blockDefault }: ConvertOptions): Variant[] {
  const kinds = [...new Set(quantise)].filter((kind) => kind !== "none");
  return kinds.map((kind) => ({ quantise: kind, block }));
}

/** What a directory of ours says about itself and keeps; null when `input` is none. */
async function ownDirectory(input: string): Promise<OwnDirectory | null> {
  if (!existsSync(join(input, "model.json"))) return null;
  const { description, weightsPath, vocabularyPath } = await opened(input, "none");
  const vocabulary = vocabularyPath === null ? undefined : await readFile(vocabularyPath);
  return { description, weightsPath, vocabulary };
}

function describe(
  input: string,
  options: {
    readonly base: ModelDescription | undefined;
    readonly vocabulary: Uint8Array | undefined;
    readonly name?: string | undefined;
    readonly groupNormEps?: number | undefined;
  },
): ModelDescription {
  const { base, vocabulary } = options;
  const { weights: _, vocabulary: __, quantised: ___, ...kept } = base ?? {};
  const fileName = basename(input, extname(input)).slice(0, 100);
  const description = {
    ...kept,
    format: 1,
    name: options.name ?? base?.name ?? (fileName === "" ? "model" : fileName),
    weights: weightsName,
    groupNormEps: options.groupNormEps ?? base?.groupNormEps ?? worldGroupNormEps,
  } as const;
  if (vocabulary !== undefined) return { ...description, vocabulary: vocabularyName };
  const advice =
    `none: runs by token ids only. To add one, put the vocabulary file beside this file ` +
    `as ${vocabularyName} and write "vocabulary": "${vocabularyName}" here`;
  return { ...description, card: { ...base?.card, vocabulary: advice } };
}

function planOf(weights: Weights, model: WholeModel): Omit<ConvertPlan, "bytes"> {
  const from = `${weights.container}, ${model.dialect} names`;
  return { from, tensors: model.tensors.length };
}

async function refuseFullDisk(parent: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(parent);
  if (bavail * bsize < neededBytes) throw diskFull(parent, neededBytes, bavail * bsize);
}

function diskFull(path: string, neededBytes: number, freeBytes: number): ModelError {
  const [neededMb, freeMb] = [Math.ceil(neededBytes / 1e6), Math.floor(freeBytes / 1e6)];
  return new ModelError("DISK_FULL", { path, neededMb, freeMb });
}

/** What the system says in the middle of the work, in our words. */
function explained(error: unknown, path: string, neededBytes: number): unknown {
  if (error instanceof Error && error.name === "AbortError") {
    return new ModelError("CONVERT_STOPPED", { path }, { cause: error });
  }
  const code = systemErrorCode(error);
  if (error instanceof ModelError || code === undefined) return error;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return diskFull(path, neededBytes, 0);
  }
  const reason = (error as Error).message;
  return new ModelError("FOLDER_UNWRITABLE", { path, reason }, { cause: error });
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "wx");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
