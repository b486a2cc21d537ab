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

test("every flipped bit of a block is refused", () => {
  const block = encodeBlock({ epoch: 3, tokens: 17, crc: 99 }, [1, 500, 65_535]);
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
