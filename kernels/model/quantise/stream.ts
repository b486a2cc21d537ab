/**
 * Streams the weights of a model into a quantised variant of them, a few megabytes at a time.
 *
 * Equal weights give equal bytes. A matrix with a number that is not finite is refused: no block scale
 * could stand for it. The file is on the disk when the promise is fulfilled; when it is not, what was
 * written so far is the caller's to remove.
 */
import { type FileHandle, open } from "node:fs/promises";
import { ModelError } from "#kernels/errors.ts";
import { canonicalTensors, type ModelConfig } from "../config.ts";
import type { Dtype } from "../safetensors-header.ts";
import type { SafetensorsFile } from "../safetensors.ts";
import { type LaidTensor, layOut } from "../safetensors-layout.ts";
import { blocksPerRow, type BlockShape, codeBytesPerRow, quantiseRows } from "./blocks.ts";
import {
  blockShape,
  codesSuffix,
  isQuantisedMatrix,
  scalesSuffix,
  type Variant,
  variantMetadata,
  variantTensors,
} from "./layout.ts";

/** Numbers widened at a time: bounds memory, and how long the event loop waits (some 10 ms). */
const numbersAtOnce = 1 << 20;

export interface QuantiseSource {
  readonly config: ModelConfig;
  readonly weights: SafetensorsFile;
  /** SHA-256 of the weights, in hex. */
  readonly sha256: string;
}

export interface QuantiseOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes of this file so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** Bytes of the file that `quantiseWeights` will write. */
export function variantBytes(
  model: { readonly config: ModelConfig; readonly embeddingType: Dtype },
  variant: Variant,
): number {
  return layoutOf(model, { variant, sha256: "0".repeat(64) }).bytes;
}

/** @returns the bytes written */
export async function quantiseWeights(
  source: QuantiseSource,
  target: { readonly path: string; readonly variant: Variant },
  options: QuantiseOptions,
): Promise<number> {
  const { config, weights, sha256 } = source;
  const embeddingType = weights.location("emb.weight").dtype;
  const { variant } = target;
  const { prefix, tensors } = layoutOf({ config, embeddingType }, { variant, sha256 });
  let offset = prefix.length;
  const extents = new Map<string, Extent>();
  for (const { tensor, bytes } of tensors) {
    extents.set(tensor.name, { ...tensor, offset, bytes });
    offset += bytes;
  }
  const file = await open(target.path, "wx");
  let done = 0;
  const write = async (bytes: Uint8Array, position: number): Promise<void> => {
    options.signal?.throwIfAborted();
    await writeAll(file, bytes, position);
    done += bytes.length;
    options.onProgress?.(done);
  };
  try {
    await write(prefix, 0);
    for (const [name, shape] of canonicalTensors(config)) {
      if (isQuantisedMatrix(name, shape)) {
        await writeMatrix(weights, { name, shape, extents, ...target }, write);
      } else {
        await copyTensor(weights, extents.get(name)!, write);
      }
    }
    await file.sync();
    return done;
  } finally {
    await file.close();
  }
}

interface Extent extends LaidTensor {
  /** Counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

type Write = (bytes: Uint8Array, position: number) => Promise<void>;

function layoutOf(
  { config, embeddingType }: Parameters<typeof variantBytes>[0],
  { variant, sha256 }: { readonly variant: Variant; readonly sha256: string },
) {
  const tensors = variantTensors(config, variant).map(({ name, dtype, shape }) => {
    // The embedding stays as it came, vectors are widened.
    const own = name === "emb.weight" ? embeddingType : "F32";
    return { name, dtype: dtype ?? own, shape };
  });
  return layOut(tensors, variantMetadata(variant, sha256));
}

async function writeMatrix(
  weights: SafetensorsFile,
  matrix: {
    readonly name: string;
    readonly shape: readonly number[];
    readonly extents: ReadonlyMap<string, Extent>;
    readonly variant: Variant;
    readonly path: string;
  },
  write: Write,
): Promise<void> {
  const { name, extents, variant, path } = matrix;
  const [rows = 0, columns = 1] = matrix.shape;
  const blocks: BlockShape = blockShape(name, columns, variant);
  const rowsAtOnce = Math.max(1, Math.floor(numbersAtOnce / columns));
  const [codeBytes, scaleCount] = [codeBytesPerRow(blocks), blocksPerRow(blocks)];
  const codesAt = extents.get(`${name}${codesSuffix}`)!.offset;
  const scalesAt = extents.get(`${name}${scalesSuffix}`)!.offset;
  for (let row = 0; row < rows; row += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - row);
    const numbers = weights.read(name, { from: row * columns, count: count * columns });
    const codes = new Uint8Array(count * codeBytes);
    const scales = new Float32Array(count * scaleCount);
    quantiseRows(numbers, { codes, scales }, blocks);
    if (!scales.every(Number.isFinite)) {
      throw new ModelError("MODEL_BROKEN", { path, reason: `not-finite: a number of ${name}` });
    }
    await write(new Uint8Array(scales.buffer), scalesAt + 4 * row * scaleCount);
    await write(codes, codesAt + row * codeBytes);
  }
}

async function copyTensor(weights: SafetensorsFile, extent: Extent, write: Write): Promise<void> {
  const { name, dtype, bytes, offset } = extent;
  if (dtype !== weights.location(name).dtype) {
    await write(new Uint8Array(weights.read(name).buffer), offset);
    return;
  }
  for (let at = 0; at < bytes; at += 4 * numbersAtOnce) {
    const count = Math.min(4 * numbersAtOnce, bytes - at);
    await write(weights.readBytes(name, { from: at, count }), offset + at);
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
