/**
 * A mailbox entry that has rotted, and what can still be told of it, so that its turn ends by name and
 * those behind it are answered. One flipped bit leaves enough: the record names its turn, and so do the
 * words before it.
 */
import { EyrieError } from "#infra/errors/error.ts";
import { mailboxPlace } from "#infra/redis/places.ts";
import type { Records } from "#infra/redis/records.ts";
import { type ConversationId, type Turn, type TurnKey, turnId } from "#infra/turn/index.ts";
import type { Hold } from "./mailbox.ts";

/** The right to end a head that cannot be answered. */
export interface DamagedHead extends Hold, Remains {
  readonly fence: number;
  /** As Redis holds it. */
  readonly entry: Buffer;
}

export interface Remains {
  /** Which turn it was; null when nobody can tell any more. */
  readonly key: TurnKey | null;
  /** The turn itself, where only the words before its record have rotted. */
  readonly turn: Turn | null;
  /** 0 when it cannot be told. */
  readonly seq: number;
}

/** `<seq> <turn> <attempt> `, and ids as Discord writes them. */
const words = /^\d+ (0|[1-9]\d{0,19}) (\d{1,2}) /;
/** Where a record begins, plain or sealed, whatever stands before it. */
const record = /(?:1 [0-9a-f]{8} \{.*|2 [\w-]+)$/s;

export function remainsOf(entry: string, conversation: ConversationId, records: Records): Remains {
  const seq = Number(/^\d{1,15}(?= )/.exec(entry)?.[0] ?? 0);
  const turn = turnIn(entry, conversation, records);
  if (turn !== null) return { key: { turn: turn.id, attempt: turn.attempt }, turn, seq };
  const [, id, attempt] = words.exec(entry) ?? [];
  const key = id === undefined ? null : { turn: turnId(id), attempt: Number(attempt) };
  return { key, turn, seq };
}

function turnIn(entry: string, conversation: ConversationId, records: Records): Turn | null {
  const [found] = record.exec(entry) ?? [];
  if (found === undefined) return null;
  try {
    return records.decode(found, mailboxPlace(conversation)) as Turn;
  } catch (error) {
    if (error instanceof EyrieError) return null;
    throw error;
  }
}
