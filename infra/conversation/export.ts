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
import { decodeSpeaker } from "#infra/ledger/speakers.ts";
import { decodePastTurn } from "#infra/ledger/past-turn.ts";
import { conversationKeys, snapshotKeyParts } from "#infra/redis/keys.ts";
import { snapshotPlace } from "#infra/redis/places.ts";
import { decodeRecord } from "#infra/redis/record.ts";
import type { Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { storedInState, storedInTruth } from "./stored.ts";
import { openValue, valueKind } from "./values.ts";

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
  readonly records: Records;
  readonly truth: ScriptedRedis;
  readonly state: ScriptedRedis;
}

export async function exportConversation(
  stores: Stores,
  conversation: ConversationId,
): Promise<Export> {
  const { records, state, truth } = stores;
  const stored = await storedInTruth(truth, conversation, records);
  const open = await Promise.all(
    stored.inProgress.map(async ({ key, field }) => {
      const record = await truth.hgetBuffer(key, field);
      const kind = valueKind(key, field);
      return record === null
        ? []
        : [shown(record, (plain) => readable(plain.toString()), { kind, records })];
    }),
  );
  return {
    format: exportFormat,
    conversation,
    exportedAt: new Date().toISOString(),
    truth: await exportKeys(stores, stored.keys, conversation),
    lastTurnAt: stored.activeAtMs === null ? null : new Date(stored.activeAtMs).toISOString(),
    waits: stored.dirty,
    undelivered: stored.outbox,
    inProgress: open.flat(),
    state: await exportSnapshots(stores, await storedInState(state, conversation)),
  };
}

async function exportKeys(
  { records, truth }: Stores,
  keys: readonly string[],
  conversation: ConversationId,
): Promise<Record<string, Exported>> {
  const prefix = conversationKeys(conversation).meta.replace(/meta$/, "");
  const exported: Record<string, Exported> = {};
  for (const key of keys) {
    const value = await valueOf(truth, { key, name: key.slice(prefix.length) }, records);
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
async function valueOf(
  truth: ScriptedRedis,
  { key, name }: { readonly key: string; readonly name: string },
  records: Records,
): Promise<unknown> {
  const sealing = { kind: valueKind(key, null), records };
  switch (await truth.type(key)) {
    case "string": {
      const value = (await truth.getBuffer(key)) ?? Buffer.alloc(0);
      return shown(value, (plain) => readable(plain.toString()), sealing);
    }
    case "hash": {
      const fields = Object.entries(await truth.hgetallBuffer(key));
      return Object.fromEntries(
        fields.map(([field, value]) => [
          field,
          readableField(value, { kind: valueKind(key, field), records }),
        ]),
      );
    }
    case "list": {
      const entries = await truth.lrangeBuffer(key, 0, -1);
      return entries.map((entry) => shown(entry, readableEntry(name), sealing));
    }
    default:
      return null;
  }
}

function shown(
  value: Buffer,
  read: (plain: Buffer) => unknown,
  sealing: { readonly kind: ReturnType<typeof valueKind>; readonly records: Records },
): unknown {
  return orDamaged(() => read(openValue(value, sealing.kind, sealing.records)));
}

/** A record, with or without words before it, or a plain value. */
function readable(text: string): unknown {
  const match = /^((?:\d+ ){0,4}?)(1 [0-9a-f]{8} [[{].*)$/s.exec(text);
  if (match === null) return text;
  const [, words = "", record = ""] = match;
  const decoded = orDamaged(() => decodeRecord(record, "record"));
  return words === "" ? decoded : { entry: words.trim(), record: decoded };
}

/** In a hash, only who has spoken is a record. */
function readableField(
  value: Buffer,
  sealing: { readonly kind: ReturnType<typeof valueKind>; readonly records: Records },
): unknown {
  if (sealing.kind === null) return value.toString();
  return shown(value, decodeSpeaker, sealing);
}

function readableBlock(block: Buffer): unknown {
  return orDamaged(() => {
    const { start, tokens, end } = decodeBlock(block);
    return { from: formatLogHead(start), to: formatLogHead(end), tokens };
  });
}

function readableEntry(list: string): (entry: Buffer) => unknown {
  if (list === "log") return readableBlock;
  return list === "turns" ? readableTurn : (entry) => readable(entry.toString());
}

function readableTurn(record: Buffer): unknown {
  return orDamaged(() => {
    const past = decodePastTurn(record);
    return { ...past, from: formatLogHead(past.from) };
  });
}

function orDamaged<T>(decode: () => T): T | { readonly damaged: string } {
  try {
    return decode();
  } catch (error) {
    if (error instanceof EyrieError)
      return { damaged: String(error.values["reason"] ?? error.code) };
    throw error;
  }
}

async function exportSnapshots(
  { records, state }: Stores,
  keys: readonly string[],
): Promise<Record<string, Exported>> {
  const exported: Record<string, Exported> = {};
  for (const key of keys) {
    const name = key.replace(/^eyrie:\{[^}]*\}:/, "");
    const value =
      (await state.type(key)) === "zset"
        ? await state.zrange(key, "0", "-1")
        : await digest(state, key, records);
    exported[name] = await withLife(state, key, value);
  }
  return exported;
}

/** A snapshot's bytes and their SHA-256, as the model's state is packed. */
async function digest(state: ScriptedRedis, key: string, records: Records): Promise<unknown> {
  const chunks = Object.entries(await state.hgetallBuffer(key));
  const ordered = chunks.sort(([a], [b]) => Number(a) - Number(b)).map(([, chunk]) => chunk);
  const parts = snapshotKeyParts(key);
  return orDamaged(() => {
    const stored = Buffer.concat(ordered);
    const packed =
      parts === null
        ? stored
        : records.open(stored, snapshotPlace(parts.conversation, parts.logHead));
    return { bytes: packed.length, sha256: createHash("sha256").update(packed).digest("hex") };
  });
}
