/**
 * A turn that can be taken back: where the log stood before it. The conversation keeps the newest
 * {@link undoTurnsMax} of them in truth, one for each of the newest log blocks, so the first one says
 * how far back an undo may reach, and with it which snapshots and blocks must stay.
 */
import { decodeRecord, encodeRecord } from "#infra/redis/record.ts";
import { type TurnId, turnId, type UserId, userId } from "#infra/turn/index.ts";
import { formatLogHead, type LogHead, parseLogHead } from "./tokenlog.ts";

/** Turns that can be taken back. */
export const undoTurnsMax = 10;

export interface PastTurn {
  readonly seq: number;
  readonly turn: TurnId;
  readonly attempt: number;
  readonly author: UserId;
  /** Log head before the turn. */
  readonly from: LogHead;
}

type Fields = [seq: number, turn: string, attempt: number, author: string, from: string];

/** Short on purpose: ten of them lie in truth for every conversation that is idle. */
export function encodePastTurn(past: PastTurn): string {
  const { seq, turn, attempt, author, from } = past;
  return encodeRecord([seq, turn, attempt, author, formatLogHead(from)] satisfies Fields);
}

export function decodePastTurn(record: string): PastTurn {
  const [seq, turn, attempt, author, from] = decodeRecord(record, "past turn") as Fields;
  return { seq, turn: turnId(turn), attempt, author: userId(author), from: parseLogHead(from) };
}
