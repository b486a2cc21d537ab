import fc from "fast-check";
import { expect, test } from "vitest";
import { decodePastTurn, encodePastTurn, type PastTurn } from "#infra/ledger/past-turn.ts";
import { encodeRecord } from "#infra/redis/record.ts";
import { turnId, userId } from "#infra/turn/index.ts";

const past: PastTurn = {
  seq: 41,
  turn: turnId("1234567890123456789"),
  attempt: 2,
  author: userId("9876543210987654321"),
  from: { epoch: 1, tokens: 30_000, crc: 4_000_000_000 },
};
const id = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

test("reads back as written, in about thirty bytes", () => {
  fc.assert(
    fc.property(fc.nat(), id, fc.nat(99), id, fc.nat(), (seq, turn, attempt, author, tokens) => {
      const one = {
        seq,
        turn: turnId(String(turn)),
        attempt,
        author: userId(String(author)),
        from: { epoch: attempt, tokens, crc: tokens },
      };
      expect(decodePastTurn(encodePastTurn(one))).toEqual(one);
    }),
  );
  expect(encodePastTurn(past).length).toBeLessThanOrEqual(34);
});

test("one of version 1 goes on being read", () => {
  const { seq, turn, attempt, author } = past;
  const record = encodeRecord([seq, turn, attempt, author, "1:30000:4000000000"]);
  expect(decodePastTurn(Buffer.from(record))).toEqual(past);
});

test("every flipped bit and every cut is refused", () => {
  const record = encodePastTurn(past);
  for (let bit = 0; bit < record.length * 8; bit++) {
    const flipped = Buffer.from(record);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(() => decodePastTurn(flipped), `bit ${bit}`).toThrow("RECORD_CORRUPT");
  }
  for (let length = 0; length < record.length; length++) {
    expect(() => decodePastTurn(record.subarray(0, length))).toThrow("RECORD_CORRUPT");
  }
});
