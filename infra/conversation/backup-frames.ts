/** What the frames of a backup hold: a state with its name, or a conversation of truth, opened. */
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { ConversationId } from "#infra/turn/index.ts";

/** One key of a conversation, opened. */
export interface CopiedKey {
  /** Without the part that all keys of the conversation share. */
  readonly name: string;
  readonly type: "string" | "list" | "hash";
  /** Unix ms; null: it stays. */
  readonly expiresAtMs: number | null;
  /** Base64; of a hash, fields and values in turn. */
  readonly values: readonly string[];
}

export interface Copy {
  readonly conversation: ConversationId;
  readonly keys: readonly CopiedKey[];
  readonly waits: boolean;
  readonly outbox: readonly string[];
}

export interface StateName {
  readonly conversation: ConversationId;
  readonly logHead: string;
}

export function encodeState(name: StateName, packed: Buffer): Buffer {
  const words = Buffer.from(JSON.stringify(name));
  const length = Buffer.alloc(2);
  length.writeUInt16LE(words.length);
  return Buffer.concat([length, words, packed]);
}

export function decodeState(body: Buffer): StateName & { readonly packed: Buffer } {
  const end = 2 + body.readUInt16LE(0);
  const name = JSON.parse(body.toString("utf8", 2, end)) as StateName;
  return { ...name, packed: body.subarray(end) };
}

export function encodeCopy(copy: Copy): Buffer {
  return zstdCompressSync(Buffer.from(JSON.stringify(copy)));
}

export function decodeCopy(body: Buffer): Copy {
  return JSON.parse(zstdDecompressSync(body).toString()) as Copy;
}
