/** `eyrie model list` and `eyrie model remove`: the models of this machine and what each still needs. */
import { existsSync, lstatSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { loadConfig } from "#infra/config/config.ts";
import { EyrieError } from "#infra/errors/error.ts";
import {
  isModelName,
  isShard,
  isWeights,
  vocabularyAmong,
  weightsAmong,
} from "#infra/hub/selection.ts";
import {
  asFolderError,
  leftovers,
  modelNames,
  modelsDirectory,
  removeModel,
} from "#infra/hub/store.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { ModelError, systemErrorCode } from "#kernels/errors.ts";
import { openModel } from "#kernels/model/model.ts";
import { confirmed } from "../confirm.ts";
import { bytes, columns } from "../output.ts";

export interface Folder {
  readonly name: string;
  readonly directory: string;
  /** Ending of the weights file; `eyrie` for a model directory of ours, null without weights. */
  readonly format: string | null;
  readonly bytes: number;
  /** Tokens of a model that runs; else the name of the vocabulary file, null without one. */
  readonly vocabulary: number | string | null;
  readonly status: "ready" | "needs convert" | "converted" | "incomplete" | "broken" | "left over";
  /** The command that comes next; null when there is none. */
  readonly next: string | null;
}

/** Where `model convert` is told to put what it makes of a pulled folder. */
const convertedSuffix = "-eyrie";

export async function list(options: { readonly json?: true }): Promise<void> {
  const directory = modelsDirectory(loadConfig(process.env).EYRIE_HOME);
  const folders = [await describeFolder(shippedModel(), "eaglet")];
  for (const name of namesIn(directory)) {
    folders.push(await describeFolder(join(directory, name), name));
  }
  for (const name of leftovers(directory)) {
    const path = join(directory, name);
    const facts = { name, directory: path, format: null, bytes: sizeOf(path), vocabulary: null };
    folders.push({ ...facts, status: "left over", next: `rm -r ${quoted(path)}` });
  }
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(folders, null, 2)}\n`);
    return;
  }
  const rows = folders.map((folder) => [
    folder.name,
    folder.format ?? "–",
    bytes(folder.bytes),
    folder.vocabulary === null ? "–" : folder.vocabulary.toLocaleString("en-US"),
    folder.status,
  ]);
  process.stdout.write(columns([["name", "format", "size", "vocabulary", "status"], ...rows]));
  for (const { status, next } of folders) {
    if (next !== null && status !== "ready") process.stdout.write(`→ ${next}\n`);
  }
}

export async function remove(name: string, options: { readonly json?: true }): Promise<void> {
  const config = loadConfig(process.env);
  if (!isModelName(name)) {
    throw new EyrieError("USAGE", { reason: "give a model's name as in `model list`, not a path" });
  }
  const directory = modelsDirectory(config.EYRIE_HOME);
  const path = join(directory, name);
  const isShipped = name === "eaglet" && !existsSync(path);
  if (isShipped || resolve(config.EYRIE_MODEL) === path) {
    throw new EyrieError("MODEL_PROTECTED", { name });
  }
  const isThere = namesIn(directory).includes(name);
  // What a link points to stays.
  const isLink = isThere && lstatSync(path).isSymbolicLink();
  const size = isThere && !isLink ? sizeOf(path) : 0;
  const translator = await loadTranslator();
  const text = (key: string): string =>
    translator.text(config.EYRIE_LOCALE, `terminal:pull.${key}`, { name, size: bytes(size) });
  if (isThere && !(await confirmed(text("remove"), text("yes")))) return;
  await removeModel(directory, name);
  const said = options.json === true ? JSON.stringify({ name, bytes: size }) : text("removed");
  process.stdout.write(`${said}\n`);
}

function namesIn(directory: string): readonly string[] {
  try {
    return modelNames(directory);
  } catch (error) {
    throw asFolderError(error, directory);
  }
}

/**
 * What a folder holds and what it needs; nothing of the weights but their header is read. One that
 * cannot be read, such as a link to nowhere, is a broken one and no error. Where several files would
 * do, those among `pulled` are meant.
 */
export async function describeFolder(
  directory: string,
  name: string,
  pulled: readonly { readonly name: string }[] = [],
): Promise<Folder> {
  try {
    return await described(directory, name, { meant: pulled.map((file) => file.name) });
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    const nothing = { format: null, bytes: 0, vocabulary: null, next: null };
    return { name, directory, ...nothing, status: "broken" };
  }
}

async function described(
  directory: string,
  name: string,
  { meant }: { readonly meant: readonly string[] },
): Promise<Folder> {
  const files = readdirSync(directory);
  const facts = { name, directory, bytes: sizeOf(directory) };
  const weights = weightsAmong(meant) ?? weightsAmong(files);
  const vocabulary = vocabularyAmong(meant) ?? vocabularyAmong(files);
  if (files.some((file) => file.endsWith(".partial")) || weights === null) {
    return { ...facts, format: null, vocabulary, status: "incomplete", next: null };
  }
  if (!files.includes("model.json")) {
    const format = weights.split(".").at(-1) ?? null;
    const converted = `${directory}${convertedSuffix}`;
    const replaces = existsSync(join(converted, "model.json"));
    const weightsMs = newestOf(directory, files.filter(isWeights));
    if (replaces && newestOf(converted, ["model.json"]) >= weightsMs) {
      return { ...facts, format, vocabulary, status: "converted", next: null };
    }
    const next = convertCommand(directory, { weights, vocabulary, converted, replaces });
    return { ...facts, format, vocabulary, status: "needs convert", next };
  }
  try {
    const model = await openModel(directory);
    model.close();
    const size = model.vocabularyPath === null ? null : model.config.vocabSize;
    const next = `EYRIE_MODEL=${quoted(directory)} npm start`;
    return { ...facts, format: "eyrie", vocabulary: size, status: "ready", next };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { ...facts, format: "eyrie", vocabulary, status: "broken", next: null };
  }
}

function convertCommand(
  directory: string,
  files: {
    readonly weights: string;
    readonly vocabulary: string | null;
    readonly converted: string;
    /** What was made of older weights lies there. */
    readonly replaces: boolean;
  },
): string {
  // A sharded model is named by its folder: no part of it is the model.
  const input = isShard(files.weights) ? directory : join(directory, files.weights);
  return [
    "npx eyrie model convert",
    quoted(input),
    "--out",
    quoted(files.converted),
    ...(files.vocabulary === null ? [] : ["--vocab", quoted(join(directory, files.vocabulary))]),
    ...(files.replaces ? ["--force"] : []),
  ].join(" ");
}

/** As a shell reads it back. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** The model that a bare checkout runs. */
function shippedModel(): string {
  return loadConfig({}).EYRIE_MODEL;
}

function newestOf(directory: string, files: readonly string[]): number {
  return Math.max(...files.map((file) => statSync(join(directory, file)).mtimeMs));
}

/** Of the files that can be read. */
function sizeOf(directory: string): number {
  try {
    return readdirSync(directory, { recursive: true, encoding: "utf8" })
      .map((file) => statSync(join(directory, file), { throwIfNoEntry: false }))
      .reduce((sum, stat) => sum + (stat?.isFile() === true ? stat.size : 0), 0);
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    return 0;
  }
}
