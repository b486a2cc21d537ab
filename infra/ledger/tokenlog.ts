/**
 * The token log: exactly the ids fed to the model since the older kept snapshot, one block per turn.
 *
 * A head is written `<epoch>:<tokens>:<crc>`: how often the conversation was reset, how many tokens
 * were fed since, and the running CRC-32 of those ids (u32 little-endian each). Two logs with equal
 * heads hold equal tokens, so a commit that names the head it started from cannot splice histories,
 * and a snapshot named by a head is only used when that head lies on the log.
 *
 * A block is packed to as many bits a token as its largest id needs, because ten of them lie in truth
 * for every idle conversation; byte table: `kernels/state/format.md`. Blocks of the version before are
 * read, and never written.
 */
import { crc32 } from "node:zlib";
import { EyrieError } from "#infra/errors/error.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";

export interface LogHead {
  readonly epoch: number;
  readonly tokens: number;
  readonly crc: number;
}

/** First byte of a block of version 2. */
const blockMark = 0xb2;
/** First four bytes of a block of version 1. */
const magic1 = 0x31425945; // "EYB1"
const header1Bytes = 24;
const trailer1Bytes = 8;
const what = "token block";

export function parseLogHead(text: string): LogHead {
  const match = /^(\d+):(\d+):(\d+)$/.exec(text);
  if (match === null) throw new EyrieError("RECORD_CORRUPT", { what: "log head", reason: text });
  return { epoch: Number(match[1]), tokens: Number(match[2]), crc: Number(match[3]) };
}

export function formatLogHead(head: LogHead): string {
  return `${head.epoch}:${head.tokens}:${head.crc}`;
}

/** The head after feeding `tokens` on top of `head`. */
export function advance(head: LogHead, tokens: readonly number[]): LogHead {
  const bytes = Buffer.from(Uint32Array.from(tokens).buffer);
  return {
    epoch: head.epoch,
    tokens: head.tokens + tokens.length,
    crc: crc32(bytes, head.crc),
  };
}

export interface LogBlock {
  readonly start: LogHead;
  readonly tokens: readonly number[];
  readonly end: LogHead;
}

export function encodeBlock(start: LogHead, tokens: readonly number[]): Buffer {
  const width = bitsOf(tokens);
  return new ByteWriter()
    .u8(blockMark)
    .varint(start.epoch)
    .varint(start.tokens)
    .u32(start.crc)
    .varint(tokens.length)
    .u8(width)
    .raw(pack(tokens, width))
    .withChecksum();
}

export function decodeBlock(block: Buffer): LogBlock {
  if (block[0] !== blockMark) return decodeBlock1(block);
  const reader = ByteReader.checked(block, what);
  reader.u8();
  const start = { epoch: reader.integer(), tokens: reader.integer(), crc: reader.u32() };
  const count = reader.integer();
  const width = reader.u8();
  if (width < 1 || width > 32) refuseBlock("width");
  const packed = reader.raw(Math.ceil((count * width) / 8));
  reader.end();
  const tokens = unpack(packed, count, width);
  return { start, tokens, end: advance(start, tokens) };
}

/** Bits that the largest id needs, at least one. */
function bitsOf(tokens: readonly number[]): number {
  let largest = 1;
  for (const token of tokens) largest = Math.max(largest, token);
  return 32 - Math.clz32(largest);
}

/** The lowest bit first, without gaps; zeros to the end of the last byte. */
function pack(tokens: readonly number[], width: number): Uint8Array {
  const packed = new Uint8Array(Math.ceil((tokens.length * width) / 8));
  for (const [index, token] of tokens.entries()) {
    for (let bit = 0, at = index * width; bit < width; bit++, at++) {
      if (((token >>> bit) & 1) === 1) packed[at >> 3] = (packed[at >> 3] ?? 0) | (1 << (at & 7));
    }
  }
  return packed;
}

function unpack(packed: Uint8Array, count: number, width: number): number[] {
  return Array.from({ length: count }, (_, index) => {
    let token = 0;
    for (let bit = 0, at = index * width; bit < width; bit++, at++) {
      if (((packed[at >> 3] ?? 0) & (1 << (at & 7))) !== 0) token += 2 ** bit;
    }
    return token;
  });
}

function decodeBlock1(block: Buffer): LogBlock {
  if (block.length < header1Bytes + trailer1Bytes) refuseBlock("truncated");
  if (crc32(block.subarray(0, -4)) !== block.readUInt32LE(block.length - 4)) {
    refuseBlock("checksum");
  }
  if (block.readUInt32LE(0) !== magic1) refuseBlock("magic");
  const count = block.readUInt32LE(20);
  if (block.length !== header1Bytes + 4 * count + trailer1Bytes) refuseBlock("length");
  const start: LogHead = {
    epoch: block.readUInt32LE(4),
    tokens: Number(block.readBigUInt64LE(8)),
    crc: block.readUInt32LE(16),
  };
  const tokens = Array.from({ length: count }, (_, i) => block.readUInt32LE(header1Bytes + 4 * i));
  const end = advance(start, tokens);
  if (end.crc !== block.readUInt32LE(block.length - 8)) refuseBlock("running checksum");
  return { start, tokens, end };
}

function refuseBlock(reason: string): never {
  throw new EyrieError("RECORD_CORRUPT", { what, reason });
}

/** Decodes a whole log and checks that its blocks follow each other from `start` to `head`. */
export function decodeLog(blocks: readonly Buffer[], head: LogHead): LogBlock[] {
  const decoded = blocks.map(decodeBlock);
  for (const [index, block] of decoded.entries()) {
    const next = decoded[index + 1]?.start ?? head;
    if (formatLogHead(block.end) !== formatLogHead(next)) {
      throw new EyrieError("RECORD_CORRUPT", { what: "token log", reason: "gap" });
    }
  }
  return decoded;
}
