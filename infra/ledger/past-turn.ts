/**
 * A turn that can be taken back: where the log stood before it. The conversation keeps the newest
 * {@link undoTurnsMax} of them in truth, one for each of the newest log blocks, so the first one says
 * how far back an undo may reach, and with it which snapshots and blocks must stay. Byte table:
 * `kernels/state/format.md`.
 */
import { decodeRecord } from "#infra/redis/record.ts";
import { type TurnId, turnId, type UserId, userId } from "#infra/turn/index.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { type LogHead, parseLogHead } from "./tokenlog.ts";

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

/** First byte of version 2; version 1 is a JSON record and begins with the digit. */
const mark = 0x02;
const what = "past turn";

/** Short on purpose: ten of them lie in truth for every conversation that is idle. */
export function encodePastTurn(past: PastTurn): Buffer {
  const { seq, turn, attempt, author, from } = past;
  return new ByteWriter()
    .u8(mark)
    .varint(seq)
    .varint(BigInt(turn))
    .varint(attempt)
    .varint(BigInt(author))
    .varint(from.epoch)
    .varint(from.tokens)
    .u32(from.crc)
    .withChecksum();
}

export function decodePastTurn(record: Buffer): PastTurn {
  if (record[0] !== mark) return decodePastTurn1(record.toString());
  const reader = ByteReader.checked(record, what);
  reader.u8();
  const past: PastTurn = {
    seq: reader.integer(),
    turn: turnId(String(reader.varint())),
    attempt: reader.integer(),
    author: userId(String(reader.varint())),
    from: { epoch: reader.integer(), tokens: reader.integer(), crc: reader.u32() },
  };
  reader.end();
  return past;
}

type Fields1 = [seq: number, turn: string, attempt: number, author: string, from: string];

function decodePastTurn1(record: string): PastTurn {
  const [seq, turn, attempt, author, from] = decodeRecord(record, what) as Fields1;
  return { seq, turn: turnId(turn), attempt, author: userId(author), from: parseLogHead(from) };
}
