/**
 * `eyrie model inspect`: what a model is, what it takes, and what is still to be done with it.
 *
 * Reads names and shapes, no numbers; only the fingerprint reads the whole file once, so of a large one
 * it is told when asked for. Weights that are not converted yet are described as far as their header
 * goes (a .pth by the reader in its child process), with the command that converts them.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { loadConfig } from "#infra/config/config.ts";
import { isShard, weightsAmong } from "#infra/hub/selection.ts";
import { printable } from "#infra/telemetry/log.ts";
import { type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { openWeights } from "#kernels/model/formats/container.ts";
import { wholeModel } from "#kernels/model/formats/whole.ts";
import { fileBytes, memoryNeeds, parameterCount } from "#kernels/model/memory.ts";
import { type ModelDescription, openModel } from "#kernels/model/model.ts";
import {
  blockDefault,
  type BlockSize,
  quantisations,
  type Quantise,
} from "#kernels/model/quantise/layout.ts";
import type { Dtype } from "#kernels/model/safetensors-header.ts";
import { encodedBytes, type StateCodec, stateCodecs } from "#kernels/state/codec.ts";
import { bytes, columns, table } from "../output.ts";
import { describeFolder, quoted } from "./models.ts";

const cardCharactersMax = 300;
/** Of the weights that are hashed unasked: about a second. */
const hashedBytesMax = 1 << 30;
/** In words, `kernels/model/memory.ts`. */
const memoryFormula =
  "memory = weights without the embedding (fp32, or quantised) + 2 states and a row of logits a slot\n" +
  "         + 10 rows of width D for each layer and token of a prompt of 256 + 100 MiB";
/** Read from the weights, whatever the card says. */
const toldAnyway = ["architecture", "parameters"];

interface VariantFacts {
  readonly quantise: Quantise;
  /** Null when it is not there; `fileBytes` is then what it would take. */
  readonly file: string | null;
  readonly fileBytes: number;
  readonly block: number | null;
  readonly quality: { readonly meanKl: number; readonly top1Agreement: number } | null;
  /** Of the process with all its slots in use, `kernels/model/memory.ts`. */
  readonly memoryBytes: number;
}

interface Facts extends ModelConfig {
  readonly name: string | null;
  readonly directory: string;
  readonly format: string;
  /** What runs unless another is asked for; null for what must be converted first. */
  readonly opens: Quantise | null;
  /** Null when it was not asked for, and of what is not converted. */
  readonly fingerprint: string | null;
  readonly parameters: number;
  readonly vocabulary: string | null;
  readonly slots: number;
  readonly variants: readonly VariantFacts[];
  /** In fp32, as a backend keeps it. */
  readonly stateBytes: number;
  readonly snapshotBytes: Readonly<Record<StateCodec, number>>;
  readonly card: Readonly<Record<string, unknown>>;
  /** The command that makes a model directory of it; null for one that is. */
  readonly next: string | null;
}

export async function inspect(
  directory: string | undefined,
  options: { readonly json?: true; readonly fingerprint?: true },
): Promise<void> {
  const config = loadConfig(process.env);
  const path = directory ?? config.EYRIE_MODEL;
  const isRaw = existsSync(path) && !existsSync(join(path, "model.json"));
  const facts = isRaw
    ? await rawFacts(path, config.EYRIE_SLOTS)
    : await modelFacts(path, config.EYRIE_SLOTS, options);
  const text = options.json === true ? `${JSON.stringify(facts, null, 2)}\n` : describe(facts);
  process.stdout.write(text);
}

async function modelFacts(
  directory: string,
  slots: number,
  options: { readonly fingerprint?: true },
): Promise<Facts> {
  const model = await openModel(directory);
  try {
    const { name, config, description, vocabularyPath, variant } = model;
    const dtype = model.location("emb.weight").dtype;
    const isQuick = variant !== null || statSync(model.weightsPath).size <= hashedBytesMax;
    return {
      ...shapeFacts(config, { slots, dtype, stored: storedVariants(directory, description) }),
      name,
      directory,
      format: "Eyrie model directory",
      opens: variant?.quantise ?? "none",
      fingerprint: isQuick || options.fingerprint === true ? await model.fingerprint() : null,
      vocabulary: vocabularyPath,
      card: description.card ?? {},
      next: null,
    };
  } finally {
    model.close();
  }
}

/** A file as it was downloaded, or a folder that holds one. */
async function rawFacts(path: string, slots: number): Promise<Facts> {
  const file = rawFile(path);
  const weights = await openWeights(file);
  try {
    const { config, dialect, tensors, embeddingType: dtype } = wholeModel(weights, file);
    const size = tensors.reduce((sum, { source }) => sum + source.bytes, 0);
    const stored = new Map([["none", { file, bytes: size, block: null, quality: null }] as const]);
    const folder = statSync(path).isDirectory() ? await describeFolder(path, path) : null;
    const stem = join(dirname(path), basename(path, extname(path)));
    const convert = `npx eyrie model convert ${quoted(path)} --out ${quoted(`${stem}-eyrie`)}`;
    return {
      ...shapeFacts(config, { slots, dtype, stored }),
      name: null,
      directory: path,
      format: `${weights.container}, ${dialect} names; not converted`,
      opens: null,
      fingerprint: null,
      vocabulary: typeof folder?.vocabulary === "string" ? join(path, folder.vocabulary) : null,
      card: {},
      next: folder === null ? convert : folder.next,
    };
  } finally {
    await weights.close();
  }
}

/**
 * Of a folder the file that `model list` would convert. A sharded model is its folder, and so is a model
 * directory of ours; what is no folder stays as it is.
 */
export function rawFile(path: string): string {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  if (!isFolder || existsSync(join(path, "model.json"))) return path;
  const file = weightsAmong(readdirSync(path));
  return file === null || isShard(file) ? path : join(path, file);
}

/** What to call a model that was found in a folder: of Hugging Face all files are "model". */
export function folderName(path: string): string | undefined {
  return rawFile(path) === path ? undefined : basename(resolve(path)).slice(0, 100);
}

interface StoredVariant {
  readonly file: string;
  readonly bytes: number;
  readonly block: BlockSize | null;
  readonly quality: VariantFacts["quality"];
}

function storedVariants(
  directory: string,
  { weights, quantised = {} }: ModelDescription,
): ReadonlyMap<Quantise, StoredVariant> {
  const stored = new Map<Quantise, StoredVariant>();
  const add = (quantise: Quantise, name: string, more: Partial<StoredVariant>): void => {
    const file = join(directory, name);
    const bytesOf = statSync(file, { throwIfNoEntry: false })?.size;
    if (bytesOf === undefined) return;
    stored.set(quantise, { block: null, quality: null, ...more, file, bytes: bytesOf });
  };
  if (weights !== null) add("none", weights, {});
  for (const kind of ["q8", "q4"] as const) {
    const variant = quantised[kind];
    if (variant === undefined) continue;
    add(kind, variant.weights, { block: variant.block, quality: variant.quality ?? null });
  }
  return stored;
}

function shapeFacts(
  config: ModelConfig,
  known: {
    readonly slots: number;
    readonly dtype: Dtype;
    readonly stored: ReadonlyMap<Quantise, StoredVariant>;
  },
) {
  const { slots, dtype, stored } = known;
  const elements = stateLength(config);
  const packed = (codec: StateCodec) =>
    [codec, encodedBytes(codec, elements, config.headSize)] as const;
  return {
    ...config,
    parameters: parameterCount(config),
    slots,
    variants: quantisations.map((quantise) => {
      const there = stored.get(quantise);
      const block = there?.block ?? blockDefault;
      const variant = quantise === "none" ? null : { quantise, block };
      return {
        quantise,
        file: there?.file ?? null,
        fileBytes: there?.bytes ?? fileBytes(config, variant, dtype),
        block: there?.block ?? null,
        quality: there?.quality ?? null,
        memoryBytes: memoryNeeds(config, variant, slots).bytes,
      };
    }),
    stateBytes: 4 * elements,
    snapshotBytes: Object.fromEntries(stateCodecs.map(packed)) as Facts["snapshotBytes"],
  };
}

function describe(facts: Facts): string {
  const { heads, headSize, slots, vocabulary, fingerprint, next } = facts;
  const snapshots = stateCodecs.map((codec) => `${codec} ${bytes(facts.snapshotBytes[codec])}`);
  const parts = [
    table([
      ["model", printable(facts.name ?? basename(facts.directory))],
      ["path", facts.directory],
      ["format", facts.format],
      ...(fingerprint === null ? [] : ([["fingerprint", fingerprint]] as const)),
      ["architecture", `RWKV-v${facts.version} (Eagle)`],
      ["layers L", String(facts.layers)],
      ["width D", `${facts.width} = ${heads} heads × ${headSize}`],
      ["channel-mix F", String(facts.ffnWidth)],
      ["vocabulary V", `${facts.vocabSize}, ${vocabulary ?? "no file: runs by token ids only"}`],
      ["GroupNorm eps", String(facts.groupNormEps)],
      ["parameters", facts.parameters.toLocaleString("en-US")],
      ["state", `${bytes(facts.stateBytes)} a conversation, whatever its length`],
      ["snapshot", snapshots.join(", ")],
      ...cardRows(facts.card),
    ]),
    columns([
      ["weights", "file", `memory with ${slots} slots`, "quality", ""],
      ...facts.variants.map((variant) => variantRow(variant, facts.opens)),
    ]),
    `${memoryFormula}\n`,
  ];
  if (next !== null) parts.push(`→ ${next}\n`);
  return parts.join("\n");
}

function variantRow(variant: VariantFacts, opens: Quantise | null): string[] {
  const { quantise, file, block, quality } = variant;
  return [
    block === null ? quantise : `${quantise}, block ${block}`,
    file === null ? `would be ${bytes(variant.fileBytes)}` : bytes(variant.fileBytes),
    bytes(variant.memoryBytes),
    quality === null
      ? "–"
      : `KL ${quality.meanKl.toPrecision(2)}, top-1 ${(100 * quality.top1Agreement).toFixed(2)} %`,
    quantise === opens ? "← runs unless another is asked for" : "",
  ];
}

/** What the maker says, as far as it fits a line each. */
function cardRows(card: Facts["card"]): (readonly [string, string])[] {
  const others = Object.entries(card).filter(([name]) => !toldAnyway.includes(name));
  return others.map(([name, value]) => {
    const text = Array.isArray(value) ? value.join(", ") : value;
    const line = typeof text === "string" ? text : JSON.stringify(text);
    return [printable(name), printable(line.replace(/\s+/g, " ").slice(0, cardCharactersMax))];
  });
}
