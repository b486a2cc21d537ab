/**
 * Streams tensors from where they lie into one new safetensors file, through one small buffer.
 *
 * Equal tensors give equal bytes, whatever file they come from: wider types first, else in the given
 * order, as `writeSafetensors` does it. The file is on the disk when the promise is fulfilled; when
 * it is not, what was written so far is the caller's to remove.
 */
import { type FileHandle, open } from "node:fs/promises";
import { ModelError } from "#kernels/errors.ts";
import { bytesPerElement } from "../safetensors-header.ts";
import type { WholeTensor } from "./whole.ts";

/** Copied at a time: larger gains nothing on an NVMe disk, and the peak of memory hangs on it. */
const chunkBytes = 4 << 20;

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called after every chunk. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export class WeightsStream {
  readonly #ordered: readonly WholeTensor[];
  readonly #prefix: Buffer;
  /** Of the whole file. */
  readonly bytes: number;

  constructor(tensors: readonly WholeTensor[]) {
    this.#ordered = [...tensors].sort((a, b) => elementBytes(b) - elementBytes(a));
    this.#prefix = prefixOf(this.#ordered);
    this.bytes = this.#ordered.reduce((sum, { source }) => sum + source.bytes, this.#prefix.length);
  }

  async write(path: string, options: StreamOptions): Promise<void> {
    const target = await open(path, "wx");
    try {
      await writeAll(target, this.#prefix);
      const buffer = Buffer.allocUnsafe(chunkBytes);
      let done = this.#prefix.length;
      for (const tensor of this.#ordered) {
        for (let at = 0; at < tensor.source.bytes;) {
          options.signal?.throwIfAborted();
          const length = Math.min(chunkBytes, tensor.source.bytes - at);
          const chunk = buffer.subarray(0, length);
          await readAll(tensor, at, chunk);
          await writeAll(target, chunk);
          at += length;
          done += length;
          options.onProgress?.(done);
        }
      }
      await target.sync();
    } finally {
      await target.close();
    }
  }
}

/** Header length, header, and spaces until the data start at a multiple of 8. */
function prefixOf(tensors: readonly WholeTensor[]): Buffer {
  let end = 0;
  const entries = tensors.map(({ name, shape, source }) => {
    const begin = end;
    end += source.bytes;
    return [name, { dtype: source.dtype, shape, data_offsets: [begin, end] }] as const;
  });
  const header = { __metadata__: { format: "pt" }, ...Object.fromEntries(entries) };
  const json = Buffer.from(JSON.stringify(header));
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const prefix = Buffer.alloc(8 + headerBytes, " ");
  prefix.writeBigUInt64LE(BigInt(headerBytes), 0);
  json.copy(prefix, 8);
  return prefix;
}

async function readAll({ source }: WholeTensor, at: number, chunk: Buffer): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    const position = source.offset + at + done;
    const bytesRead = await source.file.read(chunk, done, chunk.length - done, position).then(
      (result) => result.bytesRead,
      (error: unknown) => {
        throw unreadable(source.path, error);
      },
    );
    if (bytesRead === 0) throw unreadable(source.path, new Error("it shrank while it was read"));
    done += bytesRead;
  }
}

function unreadable(path: string, cause: unknown): ModelError {
  const reason = `truncated: ${(cause as Error).message}`;
  return new ModelError("MODEL_BROKEN", { path, reason }, { cause });
}

async function writeAll(target: FileHandle, bytes: Buffer): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await target.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}

function elementBytes({ source }: WholeTensor): number {
  return bytesPerElement(source.dtype);
}
