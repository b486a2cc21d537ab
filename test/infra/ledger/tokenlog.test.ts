import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  advance,
  decodeBlock,
  decodeLog,
  encodeBlock,
  formatLogHead,
  type LogHead,
  parseLogHead,
} from "#infra/ledger/tokenlog.ts";

const empty: LogHead = { epoch: 0, tokens: 0, crc: 0 };
const tokens = fc.array(fc.integer({ min: 0, max: 65_535 }), { minLength: 1, maxLength: 40 });

test("a head does not depend on how tokens were split into turns", () => {
  fc.assert(
    fc.property(tokens, tokens, (first, second) => {
      expect(advance(advance(empty, first), second)).toEqual(advance(empty, [...first, ...second]));
    }),
  );
});

test("heads and blocks read back as written", () => {
  fc.assert(
    fc.property(fc.array(tokens, { maxLength: 5 }), fc.nat(1000), (turns, epoch) => {
      let head: LogHead = { ...empty, epoch };
      const blocks = turns.map((turn) => {
        const block = encodeBlock(head, turn);
        head = advance(head, turn);
        return block;
      });
      expect(parseLogHead(formatLogHead(head))).toEqual(head);
      expect(decodeLog(blocks, head).flatMap((block) => block.tokens)).toEqual(turns.flat());
    }),
  );
});

/** As they were written before version 2, by the table of that time. */
function encodeBlock1(start: LogHead, ids: readonly number[]): Buffer {
  const block = Buffer.alloc(32 + 4 * ids.length);
  block.write("EYB1", 0, "latin1");
  block.writeUInt32LE(start.epoch, 4);
  block.writeBigUInt64LE(BigInt(start.tokens), 8);
  block.writeUInt32LE(start.crc, 16);
  block.writeUInt32LE(ids.length, 20);
  for (const [index, id] of ids.entries()) block.writeUInt32LE(id, 24 + 4 * index);
  block.writeUInt32LE(advance(start, ids).crc, block.length - 8);
  block.writeUInt32LE(crc32(block.subarray(0, -4)), block.length - 4);
  return block;
}

test("blocks of version 1 go on being read, and a log may hold both", () => {
  const start = { epoch: 2, tokens: 40, crc: 7 };
  const middle = advance(start, [1, 70_000, 4_294_967_295]);
  const end = advance(middle, [9]);
  const log = [encodeBlock1(start, [1, 70_000, 4_294_967_295]), encodeBlock(middle, [9])];
  expect(decodeLog(log, end).map(({ tokens: ids }) => ids)).toEqual([
    [1, 70_000, 4_294_967_295],
    [9],
  ]);
  expect(decodeBlock(encodeBlock(start, [1, 70_000, 4_294_967_295]))).toEqual(
    decodeBlock(log[0] ?? Buffer.alloc(0)),
  );
});

test("a block takes no more bits a token than its largest id needs", () => {
  const ids = Array.from({ length: 100 }, (_, index) => 31 * index);
  expect(encodeBlock(empty, ids).length).toBeLessThanOrEqual(150 + 16);
  expect(encodeBlock(empty, [...ids, 65_529]).length).toBeLessThanOrEqual(202 + 16);
});

test.each([
  ["version 2", encodeBlock],
  ["version 1", encodeBlock1],
])("every flipped bit of a block of %s is refused", (_, encode) => {
  const block = encode({ epoch: 3, tokens: 17, crc: 99 }, [1, 500, 65_535]);
  for (let bit = 0; bit < block.length * 8; bit++) {
    const flipped = Buffer.from(block);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(() => decodeBlock(flipped), `bit ${bit}`).toThrow("RECORD_CORRUPT");
  }
});

test("every cut of a block is refused", () => {
  const block = encodeBlock(empty, [1, 2, 3]);
  for (let length = 0; length < block.length; length++) {
    expect(() => decodeBlock(block.subarray(0, length))).toThrow("RECORD_CORRUPT");
  }
});

test("a log with a block missing, doubled or out of order is refused", () => {
  const heads = [empty, advance(empty, [1]), advance(empty, [1, 2])] as const;
  const [a, b, c] = [encodeBlock(heads[0], [1]), encodeBlock(heads[1], [2]), heads[2]];
  expect(decodeLog([a, b], c)).toHaveLength(2);
  for (const wrong of [[a], [a, a, b], [b, a]]) {
    expect(() => decodeLog(wrong, c)).toThrow("RECORD_CORRUPT");
  }
});
