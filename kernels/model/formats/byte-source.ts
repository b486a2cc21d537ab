/**
 * Bytes at offsets: an open file, or a buffer. All that the readers of hostile files may touch.
 */
import { fstatSync, readSync } from "node:fs";
import { FormatRefusal } from "./refusal.ts";

export interface ByteSource {
  readonly size: number;
  /** Exactly `length` bytes from `offset`; a range outside of the source is a `zip-truncated`. */
  read(offset: number, length: number): Buffer;
}

/** Does not own the descriptor. */
export function descriptorSource(descriptor: number): ByteSource {
  const { size } = fstatSync(descriptor);
  return {
    size,
    read(offset, length) {
      checkRange(offset, length, size);
      const bytes = Buffer.alloc(length);
      for (let done = 0; done < length;) {
        const got = readSync(descriptor, bytes, done, length - done, offset + done);
        if (got === 0)
          throw new FormatRefusal("zip-truncated", "the file shrank while it was read");
        done += got;
      }
      return bytes;
    },
  };
}

export function bufferSource(bytes: Buffer): ByteSource {
  return {
    size: bytes.length,
    read(offset, length) {
      checkRange(offset, length, bytes.length);
      return bytes.subarray(offset, offset + length);
    },
  };
}

function checkRange(offset: number, length: number, size: number): void {
  const sound = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && length >= 0;
  if (!sound || offset < 0 || offset + length > size) {
    throw new FormatRefusal("zip-truncated", `bytes ${offset} + ${length} of ${size}`);
  }
}
