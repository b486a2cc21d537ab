/** Putting conversations back from a backup: all checked first, each in one atom. */
import { EyrieError } from "#infra/errors/error.ts";
import { decodeSpeaker, earliest, speakerField, type Speaker } from "#infra/ledger/speakers.ts";
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
  let size = 0;
  for await (const { body, type } of readBackup(path, stores.records, (bytes) =>
    progress((size = bytes)),
  )) {
    if (type !== "conversation") continue;
    const { meta } = conversationKeys(conversationId(decodeCopy(body).conversation));
    if ((await stores.truth.exists(meta)) === 1) conflicts.push(decodeCopy(body).conversation);
  }
  if (conflicts.length > 0 && replace === undefined) throw conflict(conflicts);
  const there = new Set(conflicts);
  const counts = { conversations: 0, snapshots: 0, replaced: conflicts.length };
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
  const alive = copy.keys.filter(({ expiresAtMs }) => expiresAtMs === null || expiresAtMs > nowMs);
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
  for (const { expiresAtMs, name, type, values } of [...meta, ...others]) {
    const anew = stored(conversation, { name, type, values }, records);
    words.push(type, expiresAtMs === null ? -1 : expiresAtMs - nowMs, anew.length, ...anew);
  }
  const first = [names.meta, names.active, names.dirty, names.outbox];
  const keys = [...first, ...others.map(({ name }) => `${prefix}${name}`)];
  return (await truth.restoreConversation(keys.length, ...keys, ...words)) === 1;
}

/** The values as they are to be stored under this platform's keys. */
function stored(
  conversation: ConversationId,
  { name, type, values }: Pick<CopiedKey, "name" | "type" | "values">,
  records: Records,
): Buffer[] {
  const key = conversationKeys(conversation).meta.replace(/meta$/, name);
  const plain = values.map((value) => Buffer.from(value, "base64"));
  if (type !== "hash") return plain.map((one) => sealValue(one, valueKind(key, null), records));
  const fields: Buffer[] = [];
  const spoke: Speaker[] = [];
  for (const [at, value] of plain.entries()) {
    if (at % 2 === 0) continue;
    const field = String(plain[at - 1]);
    if (valueKind(key, field)?.place.kind === "first turn") spoke.push(decodeSpeaker(value));
    else fields.push(Buffer.from(field), value);
  }
  for (const speaker of earliest(spoke)) {
    const { field, value } = speakerField(conversation, speaker, records);
    fields.push(Buffer.from(field), value);
  }
  return fields;
}
