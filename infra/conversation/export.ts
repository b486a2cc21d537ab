/**
 * Everything that both Redis hold of a conversation, as one JSON value: for the people it is about,
 * so every record is shown as it was before it was encoded, and nothing is left out but the numbers
 * of a state, whose size and checksum stand for them.
 *
 * A record that does not pass its checksum is shown as `{ damaged: reason }`: an export tells what is
 * stored, rotten or not.
 */
import { createHash } from "node:crypto";
import { EyrieError } from "#infra/errors/error.ts";
import { decodeBlock, formatLogHead } from "#infra/ledger/tokenlog.ts";
import { decodePastTurn } from "#infra/ledger/past-turn.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { decodeRecord } from "#infra/redis/record.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { storedInState, storedInTruth } from "./stored.ts";

/** Raised when a field changes its meaning. */
export const exportFormat = 1;

export interface Exported {
  /** Seconds until Redis forgets it by itself; null: it stays until something else removes it. */
  readonly expiresInSeconds: number | null;
  readonly value: unknown;
}

export interface Export {
  readonly format: typeof exportFormat;
  readonly conversation: ConversationId;
  readonly exportedAt: string;
  /** By key, without the part that all keys of the conversation share. */
  readonly truth: Readonly<Record<string, Exported>>;
  /** Places in lists that conversations share. */
  readonly lastTurnAt: string | null;
  readonly waits: boolean;
  readonly undelivered: readonly string[];
  /** Replies being shown and forks being made of it right now. */
  readonly inProgress: readonly unknown[];
  readonly state: Readonly<Record<string, Exported>>;
}

interface Stores {
  readonly truth: ScriptedRedis;
  readonly state: ScriptedRedis;
}

export async function exportConversation(
  { state, truth }: Stores,
  conversation: ConversationId,
): Promise<Export> {
  const stored = await storedInTruth(truth, conversation);
  const open = await Promise.all(stored.inProgress.map(({ key, field }) => truth.hget(key, field)));
  return {
    format: exportFormat,
    conversation,
    exportedAt: new Date().toISOString(),
    truth: await exportKeys(truth, stored.keys, conversation),
    lastTurnAt: stored.activeAtMs === null ? null : new Date(stored.activeAtMs).toISOString(),
    waits: stored.dirty,
    undelivered: stored.outbox,
    inProgress: open.flatMap((record) => (record === null ? [] : [readable(record)])),
    state: await exportSnapshots(state, await storedInState(state, conversation)),
  };
}

async function exportKeys(
  truth: ScriptedRedis,
  keys: readonly string[],
  conversation: ConversationId,
): Promise<Record<string, Exported>> {
  const prefix = conversationKeys(conversation).meta.replace(/meta$/, "");
  const exported: Record<string, Exported> = {};
  for (const key of keys) {
    const value = await valueOf(truth, key, key.slice(prefix.length));
    // Between the look-up and here a key may end.
    if (value !== null) exported[key.slice(prefix.length)] = await withLife(truth, key, value);
  }
  return exported;
}

async function withLife(redis: ScriptedRedis, key: string, value: unknown): Promise<Exported> {
  const seconds = await redis.ttl(key);
  return { expiresInSeconds: seconds < 0 ? null : seconds, value };
}

/** `name` says what a key of this type holds. */
async function valueOf(truth: ScriptedRedis, key: string, name: string): Promise<unknown> {
  switch (await truth.type(key)) {
    case "string":
      return readable((await truth.get(key)) ?? "");
    case "hash":
      return truth.hgetall(key);
    case "list":
      return (await truth.lrangeBuffer(key, 0, -1)).map(readableEntry(name));
    default:
      return null;
  }
}

/** A record, with or without words before it, or a plain value. */
function readable(text: string): unknown {
  const match = /^((?:\d+ ){0,4}?)(1 [0-9a-f]{8} [[{].*)$/s.exec(text);
  if (match === null) return text;
  const [, words = "", record = ""] = match;
  const decoded = undamaged(() => decodeRecord(record, "record"));
  return words === "" ? decoded : { entry: words.trim(), record: decoded };
}

function readableBlock(block: Buffer): unknown {
  return undamaged(() => {
    const { start, tokens, end } = decodeBlock(block);
    return { from: formatLogHead(start), to: formatLogHead(end), tokens };
  });
}

function readableEntry(list: string): (entry: Buffer) => unknown {
  if (list === "log") return readableBlock;
  return list === "turns" ? readableTurn : (entry) => readable(entry.toString());
}

function readableTurn(record: Buffer): unknown {
  return undamaged(() => {
    const past = decodePastTurn(record);
    return { ...past, from: formatLogHead(past.from) };
  });
}

function undamaged<T>(decode: () => T): T | { readonly damaged: string } {
  try {
    return decode();
  } catch (error) {
    if (error instanceof EyrieError) return { damaged: String(error.values["reason"]) };
    throw error;
  }
}

async function exportSnapshots(
  state: ScriptedRedis,
  keys: readonly string[],
): Promise<Record<string, Exported>> {
  const exported: Record<string, Exported> = {};
  for (const key of keys) {
    const name = key.replace(/^eyrie:\{[^}]*\}:/, "");
    const value =
      (await state.type(key)) === "zset"
        ? await state.zrange(key, "0", "-1")
        : await digest(state, key);
    exported[name] = await withLife(state, key, value);
  }
  return exported;
}

/** A snapshot's bytes and their SHA-256. */
async function digest(state: ScriptedRedis, key: string): Promise<unknown> {
  const chunks = Object.entries(await state.hgetallBuffer(key));
  const hash = createHash("sha256");
  let bytes = 0;
  for (const [, chunk] of chunks.sort(([a], [b]) => Number(a) - Number(b))) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}
