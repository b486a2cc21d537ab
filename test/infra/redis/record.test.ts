import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeRecord, encodeRecord } from "#infra/redis/record.ts";

test("any JSON value reads back as written", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(decodeRecord(encodeRecord(value), "test")).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("every flipped bit is refused by name", () => {
  const record = Buffer.from(encodeRecord({ text: "grüß dich 🪶", n: 12 }));
  for (let bit = 0; bit < record.length * 8; bit++) {
    const flipped = Buffer.from(record);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    // Upper-case hex digits name the same checksum: such a flip changes no content.
    const text = flipped.toString("utf8");
    if (text.toLowerCase() === record.toString("utf8").toLowerCase()) continue;
    expect(() => decodeRecord(text, "test"), `bit ${bit}`).toThrow("RECORD_CORRUPT");
  }
});
