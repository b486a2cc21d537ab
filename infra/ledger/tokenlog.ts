/**
 * The token log: exactly the ids fed to the model since the older kept snapshot, one block per turn.
 *
 * A head is written `<epoch>:<tokens>:<crc>`: how often the conversation was reset, how many tokens
 * were fed since, and the running CRC-32 of those ids (u32 little-endian each). Two logs with equal
 * heads hold equal tokens, so a commit that names the head it started from cannot splice histories,
 * and a snapshot named by a head is only used when that head lies on the log.
 *
 * Block, little-endian:
 *
 * | offset | width | meaning                                  |
 * | ------ | ----- | ---------------------------------------- |
 * | 0      | 4     | magic `EYB1`                             |
 * | 4      | 4     | epoch                                    |
 * | 8      | 8     | tokens before this block                 |
 * | 16     | 4     | running CRC before this block            |
 * | 20     | 4     | n, tokens in this block                  |
 * | 24     | 4·n   | token ids                                |
 * | 24+4n  | 4     | running CRC after this block             |
 * | 28+4n  | 4     | CRC-32 of everything before this field   |
 */
import { crc32 } from "node:zlib";
import { EyrieError } from "#infra/errors/error.ts";

export interface LogHead {
  readonly epoch: number;
  readonly tokens: number;
  readonly crc: number;
}

const magic = 0x31425945; // "EYB1"
const headerBytes = 24;
const trailerBytes = 8;

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
  const end = advance(start, tokens);
  const block = Buffer.alloc(headerBytes + 4 * tokens.length + trailerBytes);
  block.writeUInt32LE(magic, 0);
  block.writeUInt32LE(start.epoch, 4);
  block.writeBigUInt64LE(BigInt(start.tokens), 8);
  block.writeUInt32LE(start.crc, 16);
  block.writeUInt32LE(tokens.length, 20);
  for (const [index, token] of tokens.entries()) {
    block.writeUInt32LE(token, headerBytes + 4 * index);
  }
  block.writeUInt32LE(end.crc, block.length - 8);
  block.writeUInt32LE(crc32(block.subarray(0, -4)), block.length - 4);
  return block;
}

export function decodeBlock(block: Buffer): LogBlock {
  if (block.length < headerBytes + trailerBytes) refuseBlock("truncated");
  if (crc32(block.subarray(0, -4)) !== block.readUInt32LE(block.length - 4))
    refuseBlock("checksum");
  if (block.readUInt32LE(0) !== magic) refuseBlock("magic");
  const count = block.readUInt32LE(20);
  if (block.length !== headerBytes + 4 * count + trailerBytes) refuseBlock("length");
  const start: LogHead = {
    epoch: block.readUInt32LE(4),
    tokens: Number(block.readBigUInt64LE(8)),
    crc: block.readUInt32LE(16),
  };
  const tokens = Array.from({ length: count }, (_, i) => block.readUInt32LE(headerBytes + 4 * i));
  const end = advance(start, tokens);
  if (end.crc !== block.readUInt32LE(block.length - 8)) refuseBlock("running checksum");
  return { start, tokens, end };
}

function refuseBlock(reason: string): never {
  throw new EyrieError("RECORD_CORRUPT", { what: "token block", reason });
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
