/**
 * Streams tensors from where they lie into one new safetensors file, through one small buffer.
 *
 * Equal tensors give equal bytes, whatever file they come from (`safetensors-layout.ts`). The file is
 * on the disk when the promise is fulfilled; when it is not, what was written so far is the caller's to
 * remove.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { ModelError } from "#kernels/errors.ts";
import type { Dtype } from "../safetensors-header.ts";
import { layOut, type Layout } from "../safetensors-layout.ts";
import type { WholeTensor } from "./whole.ts";

/** Copied at a time: larger gains nothing on an NVMe disk, and the peak of memory hangs on it. */
const chunkBytes = 4 << 20;

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called after every chunk. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export class WeightsStream {
  readonly #layout: Layout<WholeTensor & { readonly dtype: Dtype }>;

  constructor(tensors: readonly WholeTensor[]) {
    const typed = tensors.map((tensor) => ({ ...tensor, dtype: tensor.source.dtype }));
    this.#layout = layOut(typed, { format: "pt" });
  }

  /** Of the whole file. */
  get bytes(): number {
    return this.#layout.bytes;
  }

  /** @returns the SHA-256 of the file, in hex */
  async write(path: string, options: StreamOptions): Promise<string> {
    const target = await open(path, "wx");
    const hash = createHash("sha256").update(this.#layout.prefix);
    try {
      const { prefix, tensors } = this.#layout;
      await writeAll(target, prefix);
      const buffer = Buffer.allocUnsafe(chunkBytes);
      let done = prefix.length;
      for (const { tensor, bytes } of tensors) {
        for (let at = 0; at < bytes;) {
          options.signal?.throwIfAborted();
          const length = Math.min(chunkBytes, bytes - at);
          const chunk = buffer.subarray(0, length);
          await readAll(tensor, at, chunk);
          hash.update(chunk);
          await writeAll(target, chunk);
          at += length;
          done += length;
          options.onProgress?.(done);
        }
      }
      await target.sync();
      return hash.digest("hex");
    } finally {
      await target.close();
    }
  }
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
