/**
 * Where records lie within what Redis holds, by the names of its keys: for whoever goes through all of
 * it (export, rotation of keys, backup) and not through the room that a record belongs to.
 *
 * A value is a record, or words in clear that a script reads and a record behind them. A value that is
 * not in this table holds nothing that people said.
 */
import { keyIdOf, type Place } from "#infra/redis/keyring.ts";
import { truthKeyParts } from "#infra/redis/keys.ts";
import {
  blockPlace,
  forkPlace,
  mailboxPlace,
  openReplyPlace,
  partialPlace,
  pastTurnPlace,
  replyPlace,
  speakerPlace,
} from "#infra/redis/places.ts";
import { keyIdOfText, type Records } from "#infra/redis/records.ts";
import { type ConversationId, turnId } from "#infra/turn/index.ts";

interface ValueKind {
  readonly place: Place;
  readonly form: "text" | "bytes";
  /** What stands in clear before the record. */
  readonly words: RegExp;
}

const noWords = /^/;

/** What an element of a key's value is, or of its field `field`; null: nothing of people's. */
export function valueKind(key: string, field: string | null): ValueKind | null {
  const parts = truthKeyParts(key);
  if (parts !== null) return conversationValue(parts.conversation, parts.name, field);
  if (field === null) return null;
  if (/^eyrie:gateway:[^:]+:open$/.test(key)) {
    return { place: openReplyPlace(key, field), form: "text", words: noWords };
  }
  if (/^eyrie:gateway:[^:]+:forks$/.test(key)) {
    return { place: forkPlace(key, field), form: "text", words: noWords };
  }
  return null;
}

function conversationValue(
  conversation: ConversationId,
  name: string,
  field: string | null,
): ValueKind | null {
  switch (name) {
    case "meta":
      if (field?.startsWith("first ") !== true) return null;
      return { place: speakerPlace(conversation), form: "bytes", words: noWords };
    case "mailbox":
      return { place: mailboxPlace(conversation), form: "text", words: /^\d+ \d+ \d+ / };
    case "last":
      return { place: mailboxPlace(conversation), form: "text", words: /^[01] \d+ \d+ \d+ / };
    case "partial":
      return { place: partialPlace(conversation), form: "text", words: noWords };
    case "log":
      return { place: blockPlace(conversation), form: "bytes", words: noWords };
    case "turns":
      return { place: pastTurnPlace(conversation), form: "bytes", words: noWords };
  }
  const [, turn, attempt] = /^reply:(\d+):(\d+)$/.exec(name) ?? [];
  if (turn === undefined) return null;
  const key = { turn: turnId(turn), attempt: Number(attempt) };
  return { place: replyPlace(conversation, key), form: "text", words: noWords };
}

/** The value as it is where nothing is sealed. */
export function openValue(value: Buffer, kind: ValueKind | null, records: Records): Buffer {
  if (kind === null) return value;
  const [words, record] = split(value, kind);
  const plain =
    kind.form === "bytes"
      ? records.open(record, kind.place)
      : Buffer.from(records.openText(record.toString(), kind.place));
  return Buffer.concat([words, plain]);
}

/** A plain value as it is to be stored. */
export function sealValue(value: Buffer, kind: ValueKind | null, records: Records): Buffer {
  if (kind === null) return value;
  const [words, record] = split(value, kind);
  const sealed =
    kind.form === "bytes"
      ? records.seal(record, kind.place)
      : Buffer.from(records.sealText(record.toString(), kind.place));
  return Buffer.concat([words, sealed]);
}

/** The key that a value's record is sealed with; null for a plain one. */
export function sealedWith(value: Buffer, kind: ValueKind): string | null {
  const [, record] = split(value, kind);
  return kind.form === "bytes" ? keyIdOf(record) : keyIdOfText(record.toString(), kind.place);
}

function split(value: Buffer, { words }: ValueKind): [words: Buffer, record: Buffer] {
  const length = words.exec(value.toString("latin1"))?.[0].length ?? 0;
  return [value.subarray(0, length), value.subarray(length)];
}
