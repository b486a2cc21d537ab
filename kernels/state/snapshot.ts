/**
 * A canonical state as bytes, and back. Byte table: `format.md`.
 *
 * Promises: `unpackSnapshot(packSnapshot(x))` is what the codec makes of `x`, to the bit, and `x` itself
 * when that has gone through the codec before (`codec.ts`); any flipped bit, cut or added byte is
 * refused by name, never repaired. A refusal is a value, not an error: the caller has an older
 * snapshot or a log to fall back on.
 */
import { crc32, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { decodeState, encodedBytes, encodeState, type StateCodec } from "./codec.ts";

export const snapshotFormatVersion = 2;
const magic = Buffer.from("EYRSTATE", "latin1");
const fixedBytes = 40;
const crcBytes = 4;
const nameBytesMax = 255;
/** The codec byte. */
const codecNumbers: Readonly<Record<StateCodec, number>> = { f32: 0, f16: 1, int8: 2 };
const codecsByNumber = new Map(
  (Object.keys(codecNumbers) as StateCodec[]).map((codec) => [codecNumbers[codec], codec] as const),
);
const stored = 0;
const zstd = 1;
/** zstd is tried where the bytes in the middle of the payload hold as many bits each, or fewer. */
const zstdBitsMax = 7;
const zstdProbeBytes = 16 * 1024;

export interface SnapshotHeader {
  /** Names the weights, and what else a state depends on (a fine-tune, say). */
  readonly fingerprint: string;
  /** Of the backend that computed the state. Another class may go on from it, with other bits. */
  readonly numericClass: string;
  /** Number of tokens fed since the conversation began. */
  readonly tokenPosition: number;
  /** Of the token log up to that position, u32. */
  readonly tokenLogChecksum: number;
}

export type SnapshotRefusal =
  | "bad-magic"
  | "unknown-version"
  | "unknown-codec"
  | "truncated"
  | "wrong-size"
  | "bad-checksum"
  | "wrong-model"
  | "wrong-length";

export type UnpackedSnapshot =
  | {
      readonly kind: "snapshot";
      readonly header: SnapshotHeader;
      readonly state: Float32Array<ArrayBuffer>;
    }
  | { readonly kind: "refused"; readonly reason: SnapshotRefusal };

export interface PackOptions {
  readonly codec: StateCodec;
  /** N: what `int8` takes as a row. */
  readonly headSize: number;
}

/** @throws RangeError when the state is not finite or a header field does not fit */
export function packSnapshot(
  state: Float32Array,
  header: SnapshotHeader,
  { codec, headSize }: PackOptions,
): Buffer<ArrayBuffer> {
  const fingerprint = encodeName(header.fingerprint);
  const numericClass = encodeName(header.numericClass);
  const encoded = encodeState(codec, state, headSize);
  if (encoded === null) throw new RangeError("a poisoned state may not be kept");
  const { payload, compression } = compressed(encoded);
  const payloadStart = payloadOffset(fingerprint.length, numericClass.length);
  const bytes = Buffer.alloc(payloadStart + payload.length + crcBytes);
  magic.copy(bytes, 0);
  bytes.writeUInt16LE(snapshotFormatVersion, 8);
  bytes.writeUInt8(codecNumbers[codec], 10);
  bytes.writeUInt8(compression, 11);
  bytes.writeUInt32LE(payloadStart, 12);
  bytes.writeBigUInt64LE(BigInt(header.tokenPosition), 16);
  bytes.writeUInt32LE(header.tokenLogChecksum, 24);
  bytes.writeUInt32LE(state.length, 28);
  bytes.writeUInt32LE(payload.length, 32);
  bytes.writeUInt8(fingerprint.length, 36);
  bytes.writeUInt8(numericClass.length, 37);
  bytes.writeUInt8(headSize, 38);
  fingerprint.copy(bytes, fixedBytes);
  numericClass.copy(bytes, fixedBytes + fingerprint.length);
  bytes.set(payload, payloadStart);
  const end = bytes.length - crcBytes;
  bytes.writeUInt32LE(crc32(bytes.subarray(0, end)), end);
  return bytes;
}

/** What the reader knows the snapshot must be. */
export interface SnapshotExpectation {
  readonly fingerprint: string;
  /** `stateLength(config)` */
  readonly stateLength: number;
  readonly headSize: number;
  /** Takes the state, all of it overwritten; left out: a fresh one does. */
  readonly into?: Float32Array<ArrayBuffer>;
}

export function unpackSnapshot(
  snapshot: Uint8Array,
  expected: SnapshotExpectation,
): UnpackedSnapshot {
  const frame = frameOf(snapshot);
  if (typeof frame === "string") return refused(frame);
  // From here on the bytes are as they were written; what is left is whether they fit the reader.
  const { bytes, end, header, payloadStart } = frame;
  const codec = codecsByNumber.get(bytes.readUInt8(10));
  if (codec === undefined || bytes.readUInt8(11) > zstd) return refused("unknown-codec");
  if (header.fingerprint !== expected.fingerprint) return refused("wrong-model");
  const elements = bytes.readUInt32LE(28);
  const headSize = bytes.readUInt8(38);
  if (elements !== expected.stateLength || headSize !== expected.headSize) {
    return refused("wrong-length");
  }
  const encodedLength = encodedBytes(codec, elements, headSize);
  const payload = bytes.subarray(payloadStart, end);
  const encoded = bytes.readUInt8(11) === zstd ? expand(payload, encodedLength) : payload;
  if (encoded?.length !== encodedLength) return refused("wrong-length");

  const state = expected.into ?? new Float32Array(elements);
  decodeState(codec, encoded, { state, rowLength: headSize });
  return { kind: "snapshot", header, state };
}

/** What a snapshot says of itself, of whatever model it is; null for one that is not as it was written. */
export function headerOfSnapshot(snapshot: Uint8Array): SnapshotHeader | null {
  const frame = frameOf(snapshot);
  return typeof frame === "string" ? null : frame.header;
}

interface Frame {
  readonly bytes: Buffer;
  readonly header: SnapshotHeader;
  /** Of the payload. */
  readonly payloadStart: number;
  readonly end: number;
}

function frameOf(snapshot: Uint8Array): Frame | SnapshotRefusal {
  const bytes = Buffer.from(snapshot.buffer, snapshot.byteOffset, snapshot.byteLength);
  if (bytes.length < fixedBytes + crcBytes) return "truncated";
  if (!bytes.subarray(0, magic.length).equals(magic)) return "bad-magic";
  if (bytes.readUInt16LE(8) !== snapshotFormatVersion) return "unknown-version";
  const end = bytes.length - crcBytes;
  const fingerprintEnd = fixedBytes + bytes.readUInt8(36);
  const numericClassEnd = fingerprintEnd + bytes.readUInt8(37);
  const payloadStart = bytes.readUInt32LE(12);
  const payloadBytes = bytes.readUInt32LE(32);
  if (payloadStart + payloadBytes > end) return "truncated";
  if (payloadStart + payloadBytes < end || numericClassEnd > payloadStart) return "wrong-size";
  if (bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) return "bad-checksum";
  const header = {
    fingerprint: bytes.toString("utf8", fixedBytes, fingerprintEnd),
    numericClass: bytes.toString("utf8", fingerprintEnd, numericClassEnd),
    tokenPosition: Number(bytes.readBigUInt64LE(16)),
    tokenLogChecksum: bytes.readUInt32LE(24),
  };
  return { bytes, header, payloadStart, end };
}

function refused(reason: SnapshotRefusal): UnpackedSnapshot {
  return { kind: "refused", reason };
}

/** With zstd where it pays; a wkv matrix in `int8` is close to noise and mostly does not. */
function compressed(encoded: Uint8Array<ArrayBuffer>): {
  readonly payload: Uint8Array;
  readonly compression: number;
} {
  const middle = encoded.length >> 1;
  const probe = encoded.subarray(
    Math.max(0, middle - zstdProbeBytes / 2),
    middle + zstdProbeBytes / 2,
  );
  if (bitsPerByte(probe) <= zstdBitsMax) {
    const payload = zstdCompressSync(encoded);
    if (payload.length < encoded.length) return { payload, compression: zstd };
  }
  return { payload: encoded, compression: stored };
}

/**
 * Entropy of the bytes, each for itself: what zstd comes to where nothing recurs, for a hundredth of
 * its time.
 */
function bitsPerByte(bytes: Uint8Array): number {
  const counts = new Uint32Array(256);
  for (let index = 0; index < bytes.length; index++) counts[bytes[index]!]!++;
  let bits = 0;
  for (const count of counts) if (count > 0) bits += count * Math.log2(bytes.length / count);
  return bits / bytes.length;
}

/** Null when it is not the zstd of at most `length` bytes. */
function expand(payload: Uint8Array, length: number): Uint8Array | null {
  try {
    return zstdDecompressSync(payload, { maxOutputLength: length });
  } catch {
    return null;
  }
}

/** The payload starts at a multiple of 8, so that a reader may view it in place. */
function payloadOffset(fingerprintBytes: number, numericClassBytes: number): number {
  return Math.ceil((fixedBytes + fingerprintBytes + numericClassBytes) / 8) * 8;
}

function encodeName(name: string): Buffer {
  const bytes = Buffer.from(name, "utf8");
  if (bytes.length === 0 || bytes.length > nameBytesMax) {
    throw new RangeError(`a name of ${bytes.length} bytes, 1 to ${nameBytesMax} are allowed`);
  }
  return bytes;
}
