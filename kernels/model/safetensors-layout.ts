/**
 * How a safetensors file that we write lies: order of the tensors, and every byte before their data.
 *
 * Equal tensors give equal bytes. Wider types come first, as the format's own writer does it, else the
 * given order stays; so every tensor is aligned to its element. The header is padded with spaces until
 * the data start at a multiple of 8.
 */
import { bytesPerElement, type Dtype } from "./safetensors-header.ts";

export interface LaidTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

export interface Layout<T extends LaidTensor> {
  /** Header length, header, padding. */
  readonly prefix: Buffer;
  /** In file order, with the bytes of each. */
  readonly tensors: readonly { readonly tensor: T; readonly bytes: number }[];
  /** Of the whole file. */
  readonly bytes: number;
}

export function layOut<T extends LaidTensor>(
  given: readonly T[],
  metadata: Readonly<Record<string, string>> = {},
): Layout<T> {
  const tensors = [...given]
    .sort((a, b) => bytesPerElement(b.dtype) - bytesPerElement(a.dtype))
    .map((tensor) => ({ tensor, bytes: tensorBytes(tensor) }));
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set("__metadata__", metadata);
  let end = 0;
  for (const { tensor, bytes } of tensors) {
    const { name, dtype, shape } = tensor;
    header.set(name, { dtype, shape, data_offsets: [end, (end += bytes)] });
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const prefix = Buffer.alloc(8 + headerBytes, " ");
  prefix.writeBigUInt64LE(BigInt(headerBytes), 0);
  json.copy(prefix, 8);
  return { prefix, tensors, bytes: prefix.length + end };
}

function tensorBytes({ dtype, shape }: LaidTensor): number {
  return shape.reduce((product, extent) => product * extent, bytesPerElement(dtype));
}
