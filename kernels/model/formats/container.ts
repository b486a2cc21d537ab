/**
 * Opens weights in whatever container they came in, told apart by content and never by file name:
 * a torch ZIP (`.pth`, `pytorch_model.bin`), a safetensors file (`.safetensors`, `.st`), an index of
 * shards, or a directory that holds one of them.
 *
 * Promises that every tensor is a range of bytes of an open file, with the bytes its shape needs, and
 * no name twice. Files that are something else are refused with `MODEL_KIND` and what to do, damaged
 * ones with `MODEL_BROKEN`, those that carry more than weights with `MODEL_UNSAFE`.
 */
import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { ModelError, systemErrorCode } from "#kernels/errors.ts";
import { SafetensorsFile } from "../safetensors.ts";
import type { Dtype } from "../safetensors-header.ts";
import { readPthInChild } from "./pth-process.ts";
import { FormatRefusal, shown } from "./refusal.ts";

export interface SourceTensor {
  /** As the file calls it. */
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly path: string;
  readonly file: FileHandle;
  /** First byte, counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface Weights {
  readonly container: "torch" | "safetensors";
  readonly tensors: readonly SourceTensor[];
  /** Keys of a pickle that are no tensors. */
  readonly others: readonly string[];
  close(): Promise<void>;
}

/** In this order: the safer container first. */
const filesOfDirectory = [
  "model.safetensors.index.json",
  "model.safetensors",
  "weights.safetensors",
  "pytorch_model.bin.index.json",
  "pytorch_model.bin",
];

const indexBytesMax = 4 << 20;
const shardsMax = 256;
const indexSchema = z.object({
  weight_map: z.record(
    z.string(),
    z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, "must be a plain file name"),
  ),
});

export async function openWeights(path: string): Promise<Weights> {
  const file = await findFile(path);
  const kind = await containerOf(file);
  return kind === "index" ? openShards(file) : openFile(file, kind);
}

async function findFile(path: string): Promise<string> {
  const found = await statOf(path);
  if (!found.isDirectory()) return path;
  for (const name of filesOfDirectory) {
    const file = join(path, name);
    if ((await statOf(file).catch(() => null))?.isFile() === true) return file;
  }
  const reason = `none of ${filesOfDirectory.join(", ")} in it`;
  throw new ModelError("MODEL_NOT_FOUND", { path, reason });
}

async function statOf(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    throw systemFailure(path, error);
  }
}

/** Starts of files that people take for weights. */
const foreign: readonly (readonly [RegExp, string])[] = [
  [/^\x80/, "old-pickle: saved by torch before 1.6; load it there and torch.save it again"],
  [/^version https:\/\/git-lfs/, "lfs-pointer: the weights were not downloaded; run git lfs pull"],
  [/^\s*<(!doctype|html)/i, "web-page: the download gave a page, not the file; download it again"],
  [
    /^(fmgg|lmgg|tjgg|GGUF)/,
    "ggml: made for rwkv.cpp or llama.cpp; take the .pth it was made from",
  ],
  [/^\x08[\x01-\x20]/, "onnx: a graph for one program; take the weights that it was made from"],
  [/^(\x1f\x8b|7z\xbc\xaf|\xfd7zXZ|Rar!|BZh|\x28\xb5\x2f\xfd)/, "archive: unpack it first"],
];

const unknownKind =
  "unknown: Eyrie reads .pth and pytorch_model.bin of torch, .safetensors, .st, and an index of them";

async function containerOf(path: string): Promise<"torch" | "safetensors" | "index"> {
  const file = await openRead(path);
  try {
    if (!(await file.stat()).isFile()) {
      throw new ModelError("MODEL_BROKEN", { path, reason: "not a file" });
    }
    const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0);
    const start = buffer.toString("latin1", 0, bytesRead);
    // First: its lower bytes are a length, and may spell any of the others.
    if (/^[^]{4}\0{4}\{/.test(start)) return "safetensors";
    if (start.startsWith("PK")) return "torch";
    if (/^\s*\{/.test(start)) return "index";
    const reason = foreign.find(([magic]) => magic.test(start))?.[1];
    if (reason !== undefined) throw new ModelError("MODEL_KIND", { path, reason });
    // No header is that long, so it is not even a damaged safetensors file.
    const isOther = bytesRead >= 8 && buffer.readBigUInt64LE(0) > 2n ** 32n;
    if (isOther) throw new ModelError("MODEL_KIND", { path, reason: unknownKind });
    return "safetensors";
  } finally {
    await file.close();
  }
}

async function openFile(path: string, container: Weights["container"]): Promise<Weights> {
  const file = await openRead(path);
  try {
    if (container === "safetensors") {
      const tensors = safetensorsOf(path).map((tensor) => ({ ...tensor, path, file }));
      return { container, tensors, others: [], close: () => file.close() };
    }
    const { tensors, others } = await readPthInChild(file.fd);
    const located = tensors.map((tensor) => ({ ...tensor, path, file }));
    return { container, tensors: located, others, close: () => file.close() };
  } catch (error) {
    await file.close();
    if (!(error instanceof FormatRefusal)) throw error;
    const code = error.unsafe ? "MODEL_UNSAFE" : "MODEL_BROKEN";
    throw new ModelError(code, { path, reason: error.message }, { cause: error });
  }
}

function safetensorsOf(path: string) {
  const opened = SafetensorsFile.open(path);
  opened.close();
  return [...opened.tensors.values()];
}

async function openShards(path: string): Promise<Weights> {
  const shardOf = await readIndex(path);
  const names = [...new Set(shardOf.values())].sort();
  if (names.length === 0 || names.length > shardsMax) {
    throw new ModelError("MODEL_BROKEN", { path, reason: `index: ${names.length} files` });
  }
  const shards = new Map<string, Weights>();
  const close = async (): Promise<void> => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    for (const name of names) {
      const file = join(dirname(path), name);
      const kind = await containerOf(file);
      if (kind === "index") {
        throw new ModelError("MODEL_BROKEN", { path, reason: `index: ${name} is one itself` });
      }
      shards.set(name, await openFile(file, kind));
    }
    const tensors = [...shards].flatMap(([name, shard]) =>
      shard.tensors.map((tensor) => ({ tensor, shard: name })),
    );
    const reason = disagreement(tensors, shardOf);
    if (reason !== null) throw new ModelError("MODEL_BROKEN", { path, reason });
    const [first] = shards.values();
    return {
      container: first!.container,
      tensors: tensors.map(({ tensor }) => tensor),
      others: [...shards.values()].flatMap(({ others }) => others),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Each shard holds the tensors that the index puts there, and no others. */
function disagreement(
  tensors: readonly { readonly tensor: SourceTensor; readonly shard: string }[],
  shardOf: ReadonlyMap<string, string>,
): string | null {
  const stray = tensors.find(({ tensor, shard }) => shardOf.get(tensor.name) !== shard);
  if (stray !== undefined) return `index: ${shown(stray.tensor.name)} is not for ${stray.shard}`;
  const found = new Set(tensors.map(({ tensor }) => tensor.name));
  const missing = [...shardOf.keys()].find((name) => !found.has(name));
  return missing === undefined ? null : `index: ${shown(missing)} is in no file`;
}

async function readIndex(path: string): Promise<ReadonlyMap<string, string>> {
  const reason = (why: string): ModelError =>
    new ModelError("MODEL_BROKEN", { path, reason: `index: ${why}` });
  if ((await stat(path)).size > indexBytesMax) throw reason(`over ${indexBytesMax} bytes`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readFile(path, "utf8"));
  } catch {
    throw reason("not JSON");
  }
  const index = indexSchema.safeParse(parsed);
  if (!index.success) throw reason("no weight_map of plain file names");
  return new Map(Object.entries(index.data.weight_map));
}

async function openRead(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    throw systemFailure(path, error);
  }
}

function systemFailure(path: string, error: unknown): ModelError {
  const missing = ["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "");
  const code = missing ? "MODEL_NOT_FOUND" : "MODEL_BROKEN";
  const reason = missing ? "no such file" : (error as Error).message;
  return new ModelError(code, { path, reason }, { cause: error });
}
