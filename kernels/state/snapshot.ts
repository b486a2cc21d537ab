/**
 * A canonical state as bytes, and back. Byte table: `format.md`.
 *
 * Promises: `unpackSnapshot(packSnapshot(x))` is `x` to the bit; any flipped bit, cut or added byte is
 * refused by name, never repaired. A refusal is a value, not an error: the caller has an older
 * snapshot or a log to fall back on.
 */
import { crc32 } from "node:zlib";

export const snapshotFormatVersion = 1;
const magic = Buffer.from("EYRSTATE", "latin1");
const fixedBytes = 40;
const crcBytes = 4;
/** Codec 0: fp32, little-endian, canonical order. The byte is there for smaller codecs to come. */
const codecFp32 = 0;
const nameBytesMax = 255;

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

/** @throws RangeError when the state is not finite or a header field does not fit */
export function packSnapshot(state: Float32Array, header: SnapshotHeader): Buffer<ArrayBuffer> {
  const fingerprint = encodeName(header.fingerprint);
  const numericClass = encodeName(header.numericClass);
  if (!state.every(Number.isFinite)) throw new RangeError("a poisoned state may not be kept");
  const payloadStart = payloadOffset(fingerprint.length, numericClass.length);
  const bytes = Buffer.alloc(payloadStart + state.byteLength + crcBytes);
  magic.copy(bytes, 0);
  bytes.writeUInt16LE(snapshotFormatVersion, 8);
  bytes.writeUInt8(codecFp32, 10);
  bytes.writeUInt32LE(payloadStart, 12);
  bytes.writeBigUInt64LE(BigInt(header.tokenPosition), 16);
  bytes.writeUInt32LE(header.tokenLogChecksum, 24);
  bytes.writeUInt32LE(state.length, 28);
  bytes.writeUInt32LE(state.byteLength, 32);
  bytes.writeUInt16LE(fingerprint.length, 36);
  bytes.writeUInt16LE(numericClass.length, 38);
  fingerprint.copy(bytes, fixedBytes);
  numericClass.copy(bytes, fixedBytes + fingerprint.length);
  bytes.set(new Uint8Array(state.buffer, state.byteOffset, state.byteLength), payloadStart);
  const end = bytes.length - crcBytes;
  bytes.writeUInt32LE(crc32(bytes.subarray(0, end)), end);
  return bytes;
}

/** What the reader knows the snapshot must be. */
export interface SnapshotExpectation {
  readonly fingerprint: string;
  /** `stateLength(config)` */
  readonly stateLength: number;
}

export function unpackSnapshot(
  snapshot: Uint8Array,
  expected: SnapshotExpectation,
): UnpackedSnapshot {
  const bytes = Buffer.from(snapshot.buffer, snapshot.byteOffset, snapshot.byteLength);
  if (bytes.length < fixedBytes + crcBytes) return refused("truncated");
  if (!bytes.subarray(0, magic.length).equals(magic)) return refused("bad-magic");
  if (bytes.readUInt16LE(8) !== snapshotFormatVersion) return refused("unknown-version");
  const end = bytes.length - crcBytes;
  const fingerprintEnd = fixedBytes + bytes.readUInt16LE(36);
  const numericClassEnd = fingerprintEnd + bytes.readUInt16LE(38);
  const payloadStart = bytes.readUInt32LE(12);
  const payloadBytes = bytes.readUInt32LE(32);
  if (payloadStart + payloadBytes > end) return refused("truncated");
  if (payloadStart + payloadBytes < end || numericClassEnd > payloadStart) {
    return refused("wrong-size");
  }
  if (bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) return refused("bad-checksum");
  // From here on the bytes are as they were written; what is left is whether they fit the reader.
  if (bytes.readUInt8(10) !== codecFp32) return refused("unknown-codec");
  const fingerprint = bytes.toString("utf8", fixedBytes, fingerprintEnd);
  if (fingerprint !== expected.fingerprint) return refused("wrong-model");
  const elements = bytes.readUInt32LE(28);
  if (elements !== expected.stateLength || payloadBytes !== elements * 4) {
    return refused("wrong-length");
  }

  const state = new Float32Array(elements);
  new Uint8Array(state.buffer).set(bytes.subarray(payloadStart, end));
  const header = {
    fingerprint,
    numericClass: bytes.toString("utf8", fingerprintEnd, numericClassEnd),
    tokenPosition: Number(bytes.readBigUInt64LE(16)),
    tokenLogChecksum: bytes.readUInt32LE(24),
  };
  return { kind: "snapshot", header, state };
}

function refused(reason: SnapshotRefusal): UnpackedSnapshot {
  return { kind: "refused", reason };
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
