/**
 * Writing and reading the small binary records of truth: little-endian numbers of fixed width, and
 * varints (7 bits a byte, the lowest first, the top bit says that more follow).
 *
 * A reader that runs past the end answers with RECORD_CORRUPT: its caller has checked a checksum, so
 * this is a record that was never whole.
 */
import { crc32 } from "node:zlib";
import { EyrieError } from "#infra/errors/error.ts";

export class ByteWriter {
  readonly #bytes: number[] = [];

  u8(value: number): this {
    this.#bytes.push(value & 0xff);
    return this;
  }

  u32(value: number): this {
    for (let shift = 0; shift < 32; shift += 8) this.u8(value >>> shift);
    return this;
  }

  varint(value: number | bigint): this {
    let rest = BigInt(value);
    for (; rest > 0x7fn; rest >>= 7n) this.u8(Number(rest & 0x7fn) | 0x80);
    return this.u8(Number(rest));
  }

  raw(bytes: Uint8Array): this {
    for (const byte of bytes) this.#bytes.push(byte);
    return this;
  }

  /** What was written, and behind it the CRC-32 of it. */
  withChecksum(): Buffer {
    return this.u32(crc32(Uint8Array.from(this.#bytes))).bytes();
  }

  bytes(): Buffer {
    return Buffer.from(this.#bytes);
  }
}

export class ByteReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Buffer, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** A reader of a record that ends with the CRC-32 of what is before. */
  static checked(record: Buffer, what: string): ByteReader {
    const end = record.length - 4;
    if (end < 0) throw new EyrieError("RECORD_CORRUPT", { what, reason: "truncated" });
    const body = record.subarray(0, end);
    if (crc32(body) !== record.readUInt32LE(end)) {
      throw new EyrieError("RECORD_CORRUPT", { what, reason: "checksum" });
    }
    return new ByteReader(body, what);
  }

  u8(): number {
    return this.#take(1)[0] ?? 0;
  }

  u32(): number {
    return this.#take(4).readUInt32LE(0);
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  /** A varint that is a count or a position. */
  integer(): number {
    return Number(this.varint());
  }

  raw(length: number): Buffer {
    return this.#take(length);
  }

  /** Whoever has read everything says so. */
  end(): void {
    if (this.#at !== this.#bytes.length) this.#refuse("length");
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (!(end <= this.#bytes.length)) this.#refuse("length");
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  #refuse(reason: string): never {
    throw new EyrieError("RECORD_CORRUPT", { what: this.#what, reason });
  }
}
