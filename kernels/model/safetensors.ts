/**
 * A safetensors file on disk: opened by descriptor, read one tensor at a time, never slurped.
 *
 * Owns the descriptor until `close()`. Promises that every tensor it names lies inside the file and
 * has the bytes its shape needs (see `safetensors-header.ts`); a file that breaks this is refused with
 * `MODEL_BROKEN` and a named reason. F32, F16 and BF16 are widened to fp32 exactly.
 * Assumes a little-endian machine, as does the format.
 */
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { ModelError, systemErrorCode } from "#kernels/errors.ts";
import {
  bytesPerElement,
  type Dtype,
  type Header,
  type HeaderEntry,
  HeaderRefusal,
  parseHeader,
  parseHeaderLength,
} from "./safetensors-header.ts";
import { layOut } from "./safetensors-layout.ts";

/** Bytes read at a time while widening: bounds the memory beside the result. */
const chunkBytes = 1 << 20;

/** The types that weights come in and `read` widens. */
export type FloatDtype = "F32" | "F16" | "BF16";

export function isFloatDtype(dtype: Dtype): dtype is FloatDtype {
  return dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

export interface TensorLocation {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export class SafetensorsFile {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, string>;
  /** By name, in file order. */
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  readonly #descriptor: number;
  #closed = false;

  /** @throws ModelError `MODEL_NOT_FOUND` or `MODEL_BROKEN` */
  static open(path: string): SafetensorsFile {
    let descriptor: number;
    try {
      descriptor = openSync(path, "r");
    } catch (error) {
      const code = systemErrorCode(error) === "ENOENT" ? "MODEL_NOT_FOUND" : "MODEL_BROKEN";
      throw new ModelError(code, { path, reason: reasonOf(error) }, { cause: error });
    }
    try {
      return new SafetensorsFile(path, descriptor);
    } catch (error) {
      closeSync(descriptor);
      throw new ModelError("MODEL_BROKEN", { path, reason: reasonOf(error) }, { cause: error });
    }
  }

  private constructor(path: string, descriptor: number) {
    const fileBytes = fstatSync(descriptor).size;
    const prefix = new Uint8Array(8);
    readSync(descriptor, prefix, 0, 8, 0);
    const headerBytes = parseHeaderLength(prefix, fileBytes);
    const json = new Uint8Array(headerBytes);
    readFully(descriptor, json, 8);
    const dataOffset = 8 + headerBytes;
    const header: Header = parseHeader(json, fileBytes - dataOffset);
    this.path = path;
    this.metadata = header.metadata;
    this.tensors = new Map(
      header.entries.map((entry) => [entry.name, locate(entry, dataOffset)] as const),
    );
    this.#descriptor = descriptor;
  }

  location(name: string): TensorLocation {
    const location = this.tensors.get(name);
    if (location === undefined) throw new RangeError(`no tensor ${name} in ${this.path}`);
    return location;
  }

  /** The tensor's numbers or a part of them, row-major, widened to fp32. A fresh array at each call. */
  read(name: string, part?: Part): Float32Array<ArrayBuffer> {
    const { dtype, ...whole } = this.location(name);
    if (!isFloatDtype(dtype)) {
      const reason = `dtype-not-read: ${name} is ${dtype}; F32, F16 and BF16 are read`;
      throw new ModelError("MODEL_BROKEN", { path: this.path, reason });
    }
    const { offset, bytes } = partOf(whole, part, bytesPerElement(dtype));
    const numbers = new Float32Array(bytes / bytesPerElement(dtype));
    if (dtype === "F32") this.#readInto(new Uint8Array(numbers.buffer), offset);
    else this.#widen(numbers, offset, dtype === "F16" ? halfToFloat : bfloatToFloat);
    return numbers;
  }

  /** A tensor's bytes, or a part of them, as they are; a fresh array at each call. */
  readBytes(name: string, part?: Part): Uint8Array<ArrayBuffer> {
    const { offset, bytes } = partOf(this.location(name), part, 1);
    const target = new Uint8Array(bytes);
    this.#readInto(target, offset);
    return target;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#descriptor);
  }

  #widen(numbers: Float32Array, offset: number, widen: Widen): void {
    const chunk = new Uint16Array(Math.min(numbers.length, chunkBytes / 2));
    for (let done = 0; done < numbers.length; done += chunk.length) {
      const part = chunk.subarray(0, numbers.length - done);
      this.#readInto(new Uint8Array(part.buffer, 0, part.byteLength), offset + done * 2);
      widen(part, numbers.subarray(done, done + part.length));
    }
  }

  #readInto(target: Uint8Array, position: number): void {
    try {
      readFully(this.#descriptor, target, position);
    } catch (error) {
      const values = { path: this.path, reason: reasonOf(error) };
      throw new ModelError("MODEL_BROKEN", values, { cause: error });
    }
  }
}

/** Numbers, or bytes, counted from the tensor's first. */
interface Part {
  readonly from: number;
  readonly count: number;
}

function partOf(
  whole: { readonly offset: number; readonly bytes: number },
  part: Part | undefined,
  unitBytes: number,
): { readonly offset: number; readonly bytes: number } {
  if (part === undefined) return whole;
  const [from, bytes] = [part.from * unitBytes, part.count * unitBytes];
  if (from < 0 || bytes < 0 || from + bytes > whole.bytes) {
    throw new RangeError(`${part.count} from ${part.from} of ${whole.bytes / unitBytes}`);
  }
  return { offset: whole.offset + from, bytes };
}

/**
 * One tensor to write. `bytes` is called once, when its turn comes, and may give the tensor in pieces,
 * so neither a model nor a tensor need fit memory.
 */
export interface TensorSource {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: () => Uint8Array | Iterable<Uint8Array>;
}

/** Writes a file that any safetensors reader takes; how it lies is `safetensors-layout.ts`'s. */
export function writeSafetensors(
  path: string,
  sources: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = {},
): void {
  const { prefix, tensors } = layOut(sources, metadata);
  const descriptor = openSync(path, "w");
  try {
    writeFully(descriptor, prefix);
    for (const { tensor, bytes } of tensors) {
      const data = tensor.bytes();
      let written = 0;
      for (const piece of data instanceof Uint8Array ? [data] : data) {
        writeFully(descriptor, piece);
        written += piece.length;
      }
      if (written !== bytes) {
        throw new RangeError(`${tensor.name} gave ${written} bytes, its shape needs ${bytes}`);
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

type Widen = (from: Uint16Array<ArrayBuffer>, to: Float32Array) => void;

const halfToFloat: Widen = (from, to) => {
  to.set(new Float16Array(from.buffer, 0, from.length));
};

/** bfloat16 is the upper half of a float32. */
const bfloatToFloat: Widen = (from, to) => {
  const bits = new Uint32Array(to.buffer, to.byteOffset, to.length);
  for (let i = 0; i < from.length; i++) bits[i] = from[i]! << 16;
};

function locate(entry: HeaderEntry, dataOffset: number): TensorLocation {
  const { name, dtype, shape, begin, end } = entry;
  return { name, dtype, shape, offset: dataOffset + begin, bytes: end - begin };
}

/** A single read moves less than 2 GiB, and may move less than asked for. */
function readFully(descriptor: number, target: Uint8Array, position: number): void {
  for (let done = 0; done < target.length;) {
    const length = Math.min(target.length - done, 1 << 30);
    const got = readSync(descriptor, target, done, length, position + done);
    if (got === 0) throw new HeaderRefusal("truncated", "the file ended while it was read");
    done += got;
  }
}

function writeFully(descriptor: number, data: Uint8Array): void {
  for (let done = 0; done < data.length;) {
    done += writeSync(descriptor, data, done, Math.min(data.length - done, 1 << 30));
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
