/** Putting conversations back from a backup: all checked first, each in one atom. */
import { EyrieError } from "#infra/errors/error.ts";
import {
  decodeSpeaker,
  earliest,
  rottenField,
  type Speaker,
  speakerField,
  speakerPrefix,
} from "#infra/ledger/speakers.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import type { Records } from "#infra/redis/records.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import { type ConversationId, conversationId } from "#infra/turn/index.ts";
import { readBackup } from "./backup-file.ts";
import { type CopiedKey, type Copy, decodeCopy, decodeState } from "./backup-frames.ts";
import type { Stores } from "./rotation.ts";
import { sealValue, valueKind } from "./values.ts";

export interface Restored {
  readonly conversations: number;
  readonly snapshots: number;
  /** Conversations that were there and were replaced. */
  readonly replaced: number;
  /** Conversations where it is not known any more from where on somebody spoke. */
  readonly damaged: readonly string[];
}

export interface RestoreOptions {
  /** Deletes a conversation that is there before it is put back, by this. */
  readonly replace?: (conversation: ConversationId) => Promise<unknown>;
  /** Of the file's bytes, which are read twice. */
  readonly progress?: (bytes: number) => void;
}

/**
 * Puts back every conversation of a file. The whole file is read and checked before the first write,
 * and without `replace` no conversation that is there is touched: RESTORE_CONFLICT.
 */
export async function restore(
  stores: Stores,
  path: string,
  { progress = () => {}, replace }: RestoreOptions = {},
): Promise<Restored> {
  const conflicts: string[] = [];
  const damaged: string[] = [];
  let size = 0;
  for await (const { body, type } of readBackup(path, stores.records, (bytes) =>
    progress((size = bytes)),
  )) {
    if (type !== "conversation") continue;
    const copy = decodeCopy(body);
    const { meta } = conversationKeys(conversationId(copy.conversation));
    if ((await stores.truth.exists(meta)) === 1) conflicts.push(copy.conversation);
    if (anew(copy, stores.records).damaged) damaged.push(copy.conversation);
  }
  if (conflicts.length > 0 && replace === undefined) throw conflict(conflicts);
  const there = new Set(conflicts);
  const counts = { conversations: 0, snapshots: 0, replaced: conflicts.length, damaged };
  const snapshots = new SnapshotStore(stores.state, stores.records);
  const checked = size;
  for await (const { body, type } of readBackup(path, stores.records, (bytes) =>
    progress(checked + bytes),
  )) {
    const frame = type === "snapshot" ? decodeState(body) : decodeCopy(body);
    if (there.delete(frame.conversation)) await replace?.(frame.conversation);
    if ("packed" in frame) {
      await snapshots.write(frame.conversation, frame.logHead, frame.packed);
      await snapshots.confirm(frame.conversation, frame.logHead);
      counts.snapshots++;
    } else {
      if (!(await restoreOne(stores, frame))) throw conflict([frame.conversation]);
      counts.conversations++;
    }
  }
  return counts;
}

function conflict(ids: readonly string[]): EyrieError {
  return new EyrieError("RESTORE_CONFLICT", { count: ids.length, id: ids[0] ?? "" });
}

/** False when it is there. */
async function restoreOne({ records, truth }: Stores, copy: Copy): Promise<boolean> {
  const { conversation, outbox, waits } = copy;
  const names = conversationKeys(conversation);
  const prefix = names.meta.replace(/meta$/, "");
  const nowMs = Date.now();
  const { keys: all } = anew(copy, records);
  const alive = all.filter(({ expiresAtMs }) => expiresAtMs === null || expiresAtMs > nowMs);
  const meta = alive.filter(({ name }) => name === "meta");
  const others = alive.filter(({ name }) => name !== "meta");
  const replies = new Set(others.map(({ name }) => name));
  const members = outbox.filter((member) => {
    const [, turn = "", attempt = ""] = member.split(" ");
    return replies.has(`reply:${turn}:${attempt}`);
  });
  const words: (string | number | Buffer)[] = [
    conversation,
    waits ? 1 : 0,
    members.length,
    ...members,
  ];
  for (const { expiresAtMs, type, stored } of [...meta, ...others]) {
    words.push(type, expiresAtMs === null ? -1 : expiresAtMs - nowMs, stored.length, ...stored);
  }
  const first = [names.meta, names.active, names.dirty, names.outbox];
  const keys = [...first, ...others.map(({ name }) => `${prefix}${name}`)];
  return (await truth.restoreConversation(keys.length, ...keys, ...words)) === 1;
}

interface Anew {
  readonly keys: readonly (Omit<CopiedKey, "values"> & { readonly stored: readonly Buffer[] })[];
  readonly damaged: boolean;
}

/** The keys as they are to be stored under this platform's keys. */
function anew({ conversation, keys }: Copy, records: Records): Anew {
  let damaged = false;
  const sealed = keys.map(({ values, ...key }) => {
    const { meta } = conversationKeys(conversation);
    const name = meta.replace(/meta$/, key.name);
    const plain = values.map((value) => Buffer.from(value, "base64"));
    if (key.type !== "hash") {
      return { ...key, stored: plain.map((one) => sealValue(one, valueKind(name, null), records)) };
    }
    const fields = name === meta ? metaFields(conversation, plain, records) : null;
    damaged ||= fields?.damaged === true;
    return { ...key, stored: fields?.stored ?? plain };
  });
  return { keys: sealed, damaged };
}

/**
 * Who has spoken gets one field, named with the first key. Whose place has rotted keeps a field that
 * cannot be read; it comes last, so that it stands in the place of one of theirs that can.
 */
function metaFields(
  conversation: ConversationId,
  plain: readonly Buffer[],
  records: Records,
): { readonly stored: Buffer[]; readonly damaged: boolean } {
  const stored: Buffer[] = [];
  const spoke: Speaker[] = [];
  const rotten: string[] = [];
  for (let at = 0; at + 1 < plain.length; at += 2) {
    const field = String(plain[at]);
    const value = plain[at + 1] ?? Buffer.alloc(0);
    const speaker = field.startsWith(speakerPrefix) ? readSpeaker(value) : null;
    if (speaker !== null) spoke.push(speaker);
    else if (field.startsWith(speakerPrefix)) rotten.push(field);
    else stored.push(Buffer.from(field), value);
  }
  const fields = [
    ...earliest(spoke).map((speaker) => speakerField(conversation, speaker, records)),
    ...rotten.map((field) => rottenField(conversation, field, records)),
  ];
  stored.push(...fields.flatMap(({ field, value }) => [Buffer.from(field), value]));
  return { stored, damaged: rotten.length > 0 };
}

function readSpeaker(plain: Buffer): Speaker | null {
  try {
    return decodeSpeaker(plain);
  } catch (error) {
    if (error instanceof EyrieError) return null;
    throw error;
  }
}
