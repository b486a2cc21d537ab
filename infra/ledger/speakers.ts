/**
 * Who has spoken in a conversation, and where on its log each began: so that one person's words can
 * be taken back however long ago the first of them were said. Kept in the conversation's hash, one
 * field a person, for as long as the log remembers them: a reset or an undo takes them out.
 *
 * A field's name is no person's id where records are sealed; after a change of keys a person may have
 * two, and the earlier place counts. Whoever writes them anew makes one of them: {@link earliest}.
 */
import { isSealedName, keyIdOf } from "#infra/redis/keyring.ts";
import { speakerPlace } from "#infra/redis/places.ts";
import type { Records } from "#infra/redis/records.ts";
import { type ConversationId, isUserId, type UserId, userId } from "#infra/turn/index.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";

/** Begins the name of every field of this kind. */
export const speakerPrefix = "first ";

export interface Speaker {
  readonly user: UserId;
  /** Tokens of the log before their first turn. */
  readonly tokens: number;
}

/** A field of the conversation's hash, as stored. */
export interface SpeakerField {
  readonly field: string;
  readonly value: Buffer;
}

export function speakerField(
  conversation: ConversationId,
  speaker: Speaker,
  records: Records,
): SpeakerField {
  const place = speakerPlace(conversation);
  const name = records.nameOf(speaker.user, place);
  const value = records.seal(encodeSpeaker(speaker), place);
  return { field: `${speakerPrefix}${name}`, value };
}

export function speakerOf(
  conversation: ConversationId,
  { value }: SpeakerField,
  records: Records,
): Speaker {
  return decodeSpeaker(records.open(value, speakerPlace(conversation)));
}

/**
 * Whether a field that has rotted may be this person's: it bears a name of theirs, or one under a key
 * that nobody has, so that it may be anybody's.
 */
export function mayBeOf(
  conversation: ConversationId,
  user: UserId,
  { field, value }: SpeakerField,
  records: Records,
): boolean {
  const name = field.slice(speakerPrefix.length);
  if (records.namesOf(user, speakerPlace(conversation)).includes(name)) return true;
  const key = keyIdOf(value);
  return isSealedName(name) && (key === null || records.ring?.ids.includes(key) !== true);
}

/** What is put into the place of a field that has rotted: whose it was stays as open as it is. */
export function rottenField(
  conversation: ConversationId,
  field: string,
  records: Records,
): SpeakerField {
  const name = field.slice(speakerPrefix.length);
  const inClear = !isSealedName(name) && isUserId(name);
  const anew = inClear ? records.nameOf(name, speakerPlace(conversation)) : name;
  return { field: `${speakerPrefix}${anew}`, value: Buffer.alloc(0) };
}

/** Each person once, with the earlier of their places. */
export function earliest(speakers: readonly Speaker[]): Speaker[] {
  const first = new Map<UserId, number>();
  for (const { user, tokens } of speakers) {
    first.set(user, Math.min(tokens, first.get(user) ?? tokens));
  }
  return [...first].map(([user, tokens]) => ({ user, tokens }));
}

const mark = 0x03;

export function encodeSpeaker({ user, tokens }: Speaker): Buffer {
  return new ByteWriter().u8(mark).varint(BigInt(user)).varint(tokens).withChecksum();
}

export function decodeSpeaker(record: Buffer): Speaker {
  const reader = ByteReader.checked(record, "first turn");
  reader.u8();
  const speaker = { user: userId(String(reader.varint())), tokens: reader.integer() };
  reader.end();
  return speaker;
}
