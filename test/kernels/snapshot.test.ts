/** A snapshot comes back to the bit or is refused by name; no damage passes. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { crc32 } from "node:zlib";
import { settleState, type StateCodec, stateCodecs } from "#kernels/state/codec.ts";
import { layerLayout } from "#kernels/state/layout.ts";
import { packSnapshot, type SnapshotHeader, unpackSnapshot } from "#kernels/state/snapshot.ts";
import { stateLength } from "#kernels/model/config.ts";

const header: SnapshotHeader = {
  fingerprint: "0123456789abcdef",
  numericClass: "reference/js/none",
  tokenPosition: 2 ** 40 + 7,
  tokenLogChecksum: 0xfedcba98,
};
const state = Float32Array.from([0, -0, 1.5, 3e38, -1e-45, 2 ** -126]);
const headSize = 8;
const expected = { fingerprint: header.fingerprint, stateLength: state.length, headSize };
const good = packSnapshot(state, header, { codec: "f32", headSize });

/** Numbers as a state has them, in two rows of eight. */
function packed(codec: StateCodec) {
  const numbers = Float32Array.from({ length: 16 }, (_, i) => Math.sin(i + 1) * 10 ** (i % 3));
  const bytes = packSnapshot(numbers, header, { codec, headSize });
  return { bytes, numbers, expected: { ...expected, stateLength: numbers.length } };
}

function packedZeros() {
  const numbers = new Float32Array(4096).fill(2, 4000);
  const bytes = packSnapshot(numbers, header, { codec: "f32", headSize });
  return { bytes, numbers, expected: { ...expected, stateLength: numbers.length } };
}

/** Changes a field and puts the checksum right again. */
function forged(change: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(good);
  change(bytes);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4);
  return bytes;
}

test("comes back to the bit, with its header", () => {
  const numbers = fc.float32Array({ noNaN: true, noDefaultInfinity: true });
  const names = fc.string({ minLength: 1, maxLength: 40 });
  const headers = fc.record({
    fingerprint: names,
    numericClass: names,
    tokenPosition: fc.maxSafeNat(),
    tokenLogChecksum: fc.nat(0xffffffff),
  });
  const property = fc.property(numbers, headers, (numbersIn, headerIn) => {
    const bytes = packSnapshot(numbersIn, headerIn, { codec: "f32", headSize });
    const { fingerprint } = headerIn;
    const stateLengthIn = numbersIn.length;
    const unpacked = unpackSnapshot(bytes, { fingerprint, stateLength: stateLengthIn, headSize });
    if (unpacked.kind !== "snapshot") return expect.fail(unpacked.reason);
    expect(unpacked.header).toEqual(headerIn);
    expect(Buffer.from(unpacked.state.buffer)).toEqual(
      Buffer.from(new Uint8Array(numbersIn.buffer)),
    );
  });
  fc.assert(property);
});

test("lies where the byte table says", () => {
  expect(good.toString("latin1", 0, 8)).toBe("EYRSTATE");
  expect(good.readUInt16LE(8)).toBe(2);
  expect([...good.subarray(10, 12)]).toEqual([0, 0]);
  expect(good.readUInt32LE(12)).toBe(80);
  expect(good.readBigUInt64LE(16)).toBe(BigInt(header.tokenPosition));
  expect(good.readUInt32LE(24)).toBe(header.tokenLogChecksum);
  expect(good.readUInt32LE(28)).toBe(state.length);
  expect(good.readUInt32LE(32)).toBe(state.byteLength);
  expect([...good.subarray(36, 40)]).toEqual([16, 17, 8, 0]);
  expect(good.toString("utf8", 40, 73)).toBe("0123456789abcdefreference/js/none");
  expect(good.readFloatLE(80 + 8)).toBe(1.5);
  expect(good).toHaveLength(80 + state.byteLength + 4);
});

test.each(stateCodecs)("%s comes back as the codec leaves it, then to the bit", (codec) => {
  const { bytes, numbers, expected: wanted } = packed(codec);
  const read = unpackSnapshot(bytes, wanted);
  if (read.kind !== "snapshot") return expect.fail(read.reason);
  expect(settleState(codec, numbers, headSize)).toBe(true);
  expect(read.state).toEqual(numbers);
  const again = packSnapshot(read.state, header, { codec, headSize });
  expect(again).toEqual(bytes);
});

test("a payload that shrinks is kept as zstd, and is not blown up past the state's size", () => {
  const { bytes, numbers, expected: wanted } = packedZeros();
  expect(bytes[11]).toBe(1);
  expect(bytes.length).toBeLessThan(numbers.byteLength / 8);
  const read = unpackSnapshot(bytes, wanted);
  expect(read.kind === "snapshot" && read.state).toEqual(numbers);
  const lying = Buffer.from(bytes);
  lying.writeUInt32LE(64, 28);
  lying.writeUInt32LE(crc32(lying.subarray(0, -4)), lying.length - 4);
  const refused = unpackSnapshot(lying, { ...wanted, stateLength: 64 });
  expect(refused).toEqual({ kind: "refused", reason: "wrong-length" });
});

test("the layout covers the state without a gap", () => {
  const config = { layers: 3, width: 24, headSize: 8, heads: 3 } as Parameters<
    typeof stateLength
  >[0];
  let end = 0;
  for (let layer = 0; layer < 3; layer++) {
    const layout = layerLayout(config, layer);
    expect(layout).toEqual({
      attShift: end,
      wkv: end + 24,
      ffnShift: end + 24 + 192,
      end: end + 240,
    });
    end = layout.end;
  }
  expect(end).toBe(stateLength(config));
});

describe("refuses", () => {
  test.each([...stateCodecs, "zstd"] as const)("every flipped bit of %s, by name", (codec) => {
    const whole = codec === "zstd" ? packedZeros() : packed(codec);
    const reasons = new Set<string>();
    for (let bit = 0; bit < whole.bytes.length * 8; bit++) {
      const bytes = Buffer.from(whole.bytes);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      const read = unpackSnapshot(bytes, whole.expected);
      if (read.kind === "snapshot") return expect.fail(`bit ${bit} was not seen`);
      reasons.add(read.reason);
    }
    expect([...reasons].sort()).toEqual([
      "bad-checksum",
      "bad-magic",
      "truncated",
      "unknown-version",
      "wrong-size",
    ]);
  });

  test("every shorter and any longer one", () => {
    for (let length = 0; length < good.length; length++) {
      const cut = unpackSnapshot(good.subarray(0, length), expected);
      expect(cut, `${length} bytes`).toEqual({ kind: "refused", reason: "truncated" });
    }
    const longer = Buffer.concat([good, Buffer.alloc(1)]);
    expect(unpackSnapshot(longer, expected)).toMatchObject({ reason: "wrong-size" });
  });

  test.each([
    ["bad-magic", forged((bytes) => bytes.write("NOTSTATE", 0)), expected],
    ["unknown-version", forged((bytes) => bytes.writeUInt16LE(1, 8)), expected],
    ["unknown-codec", forged((bytes) => bytes.writeUInt8(3, 10)), expected],
    ["unknown-codec", forged((bytes) => bytes.writeUInt8(2, 11)), expected],
    ["wrong-size", forged((bytes) => bytes.writeUInt8(60, 37)), expected],
    ["bad-checksum", Buffer.from(good).fill(1, good.length - 4), expected],
    ["wrong-model", good, { ...expected, fingerprint: "fedcba9876543210" }],
    ["wrong-length", good, { ...expected, stateLength: 5 }],
    ["wrong-length", good, { ...expected, headSize: 4 }],
    ["wrong-length", forged((bytes) => bytes.writeUInt8(1, 10)), expected],
    ["wrong-length", forged((bytes) => bytes.writeUInt8(1, 11)), expected],
    [
      "wrong-length",
      forged((bytes) => bytes.writeUInt32LE(5, 28)),
      { ...expected, stateLength: 5 },
    ],
  ])("%s", (reason, bytes, expectation) => {
    expect(unpackSnapshot(bytes, expectation)).toEqual({ kind: "refused", reason });
  });

  test("to pack a poisoned state, or a name that does not fit", () => {
    const packing = { codec: "f32", headSize } as const;
    expect(() => packSnapshot(Float32Array.from([1, NaN]), header, packing)).toThrow("poisoned");
    expect(() => packSnapshot(Float32Array.from([-Infinity]), header, packing)).toThrow("poisoned");
    expect(() => packSnapshot(state, { ...header, fingerprint: "" }, packing)).toThrow(RangeError);
    const longName = { ...header, numericClass: "x".repeat(256) };
    expect(() => packSnapshot(state, longName, packing)).toThrow(RangeError);
    expect(() => packSnapshot(state, { ...header, tokenPosition: -1 }, packing)).toThrow(
      RangeError,
    );
  });
});
