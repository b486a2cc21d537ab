/** The safetensors reader: exact numbers from good files, a named refusal of every bad one. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ModelError } from "#kernels/errors.ts";
import {
  SafetensorsFile,
  type TensorSource,
  writeSafetensors,
} from "#kernels/model/safetensors.ts";
import { type HeaderReason, headerBytesMax } from "#kernels/model/safetensors-header.ts";

let directory: string;
let path: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-safetensors-"));
  path = join(directory, "file.safetensors");
});

afterAll(() => rmSync(directory, { recursive: true }));

const bytesOf = (array: Float32Array | Uint16Array): Uint8Array => new Uint8Array(array.buffer);

function source(name: string, numbers: readonly number[]): TensorSource {
  const bytes = (): Uint8Array => bytesOf(Float32Array.from(numbers));
  return { name, dtype: "F32", shape: [numbers.length], bytes };
}

/** A file from a header written by hand, so that the header may be anything. */
function fileWith(header: string | Buffer, dataBytes = 0): Buffer {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)]);
}

function entry(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return { dtype: "F32", shape: [2], data_offsets: [0, 8], ...fields };
}

/** The name of the refusal, or null when the file was opened. */
function refusalOf(bytes: Uint8Array): string | null {
  writeFileSync(path, bytes);
  try {
    SafetensorsFile.open(path).close();
    return null;
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    const { code, values } = error as ModelError;
    expect(code).toBe("MODEL_BROKEN");
    expect(values.path).toBe(path);
    return String(values.reason).split(":")[0]!;
  }
}

/** The code with which `target` is refused. */
function codeOf(target: string): string {
  try {
    SafetensorsFile.open(target).close();
  } catch (error) {
    return (error as ModelError).code;
  }
  return "opened";
}

/** A header length, and `rest` bytes after it. */
function lengthOnly(value: bigint, rest: number): Buffer {
  const bytes = Buffer.alloc(8 + rest, " ");
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** A file of one tensor `a`. */
function one(fields: Record<string, unknown>, dataBytes = 8): Buffer {
  return fileWith(JSON.stringify({ a: entry(fields) }), dataBytes);
}

/** A file of two tensors, the second at these offsets. */
function two(begin: number, end: number, dataBytes: number): Buffer {
  const second = entry({ shape: [(end - begin) / 4], data_offsets: [begin, end] });
  return fileWith(JSON.stringify({ a: entry(), b: second }), dataBytes);
}

describe("reading and writing", () => {
  test("numbers of all three types come back exactly", () => {
    const specials = [0, -0, 1, -1.5, 2 ** -24, 65504, Infinity, -Infinity, NaN];
    const halves = new Float16Array(specials);
    const upper = Uint16Array.from(
      new Uint32Array(Float32Array.from(specials).buffer),
      (bits) => bits >>> 16,
    );
    writeSafetensors(path, [
      { name: "half", dtype: "F16", shape: [3, 3], bytes: () => new Uint8Array(halves.buffer) },
      { name: "brain", dtype: "BF16", shape: [9], bytes: () => bytesOf(upper) },
      source("single", [Math.fround(0.1), 3e38, -1e-45]),
    ]);
    const file = SafetensorsFile.open(path);
    expect([...file.read("half")]).toEqual([...halves]);
    expect([...file.read("brain")]).toEqual([...specials.slice(0, 5), 65280, ...specials.slice(6)]);
    expect([...file.read("single")]).toEqual([...Float32Array.from([0.1, 3e38, -1e-45])]);
    expect(file.location("half").shape).toEqual([3, 3]);
    file.close();
  });

  test("every bfloat16 and float16 widens to its exact value", () => {
    const patterns = Uint16Array.from({ length: 65_536 }, (_, bits) => bits);
    const shape = [256, 256];
    writeSafetensors(path, [
      { name: "half", dtype: "F16", shape, bytes: () => bytesOf(patterns) },
      { name: "brain", dtype: "BF16", shape, bytes: () => bytesOf(patterns) },
    ]);
    const file = SafetensorsFile.open(path);
    const half = file.read("half");
    const brain = file.read("brain");
    file.close();
    const view = new DataView(new ArrayBuffer(4));
    for (let bits = 0; bits < 65_536; bits++) {
      const exponent = (bits >> 10) & 31;
      const fraction = (bits & 1023) / 1024;
      const size = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15);
      const special = fraction === 0 ? Infinity : NaN;
      const value = (bits & 0x8000 ? -1 : 1) * (exponent === 31 ? special : size);
      view.setUint32(0, bits * 65_536);
      if (!Object.is(half[bits], value)) expect.fail(`half ${bits}: ${half[bits]}, not ${value}`);
      if (!Object.is(brain[bits], view.getFloat32(0))) expect.fail(`bfloat ${bits}`);
    }
  });

  test("a tensor larger than one read is whole", () => {
    const numbers = new Float16Array(1_500_000).map((_, i) => i % 2048);
    const bytes = (): Uint8Array => new Uint8Array(numbers.buffer);
    writeSafetensors(path, [{ name: "long", dtype: "F16", shape: [1_500_000], bytes }]);
    const file = SafetensorsFile.open(path);
    expect(file.read("long").every((value, i) => value === i % 2048)).toBe(true);
    file.close();
  });

  test("equal input gives equal bytes, aligned, at the offsets it names", () => {
    const sources: TensorSource[] = [
      { name: "odd", dtype: "BF16", shape: [1, 1, 3], bytes: () => new Uint8Array(6).fill(7) },
      source("a", [1, 2]),
      source("b", [3]),
    ];
    writeSafetensors(path, sources, { made: "here" });
    const first = readFileSync(path);
    writeSafetensors(path, sources, { made: "here" });
    expect(readFileSync(path).equals(first)).toBe(true);
    expect(first.readBigUInt64LE() % 8n).toBe(0n);
    const file = SafetensorsFile.open(path);
    expect([...file.tensors.keys()]).toEqual(["a", "b", "odd"]);
    expect(file.metadata.get("made")).toBe("here");
    const { offset, bytes } = file.location("b");
    expect(offset % 4).toBe(0);
    expect(new Float32Array(new Uint8Array(first.subarray(offset, offset + bytes)).buffer)[0]).toBe(
      3,
    );
    file.close();
  });

  test("a writer's source that does not fill its shape is refused", () => {
    const short: TensorSource = { ...source("a", [1]), shape: [2] };
    expect(() => writeSafetensors(path, [short])).toThrow("a gave 4 bytes");
  });

  test("a missing file is MODEL_NOT_FOUND, a directory MODEL_BROKEN", () => {
    expect(codeOf(join(directory, "absent"))).toBe("MODEL_NOT_FOUND");
    expect(codeOf(directory)).toBe("MODEL_BROKEN");
  });

  test("a type that is no weight is named when it is read", () => {
    writeFileSync(path, fileWith(JSON.stringify({ a: entry({ dtype: "I32" }) }), 8));
    const file = SafetensorsFile.open(path);
    expect(() => file.read("a")).toThrow("dtype-not-read");
    file.close();
  });
});

describe("refusals", () => {
  const many = Object.fromEntries(
    Array.from({ length: 4097 }, (_, i) => [`t${i}`, entry({ shape: [0], data_offsets: [0, 0] })]),
  );
  const words = JSON.stringify(
    Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [i, ""])),
  );
  const plain = JSON.stringify(entry());
  const cases: readonly (readonly [string, HeaderReason, Uint8Array])[] = [
    ["an empty file", "file-too-short", Buffer.alloc(0)],
    ["seven bytes", "file-too-short", Buffer.alloc(7)],
    ["header length 0", "header-empty", lengthOnly(0n, 16)],
    ["header length 2^63", "header-too-large", lengthOnly(2n ** 63n, 16)],
    ["header length 2^64 - 1", "header-too-large", lengthOnly(2n ** 64n - 1n, 16)],
    [
      "a header over the cap",
      "header-too-large",
      lengthOnly(BigInt(headerBytesMax + 1), headerBytesMax + 9),
    ],
    ["a header past the end", "header-past-end", lengthOnly(17n, 16)],
    ["an array", "header-not-object", fileWith("[]")],
    ["a space before the object", "header-not-object", fileWith(" {}")],
    ["a pickle", "header-not-object", fileWith(Buffer.from("80025d712e", "hex"))],
    ["broken UTF-8", "header-not-utf8", fileWith(Buffer.from('{"\xff": 1}', "latin1"))],
    ["half an object", "header-not-json", fileWith('{"a": {')],
    ["deep objects", "too-deep", fileWith(`{"a":${'{"a":'.repeat(190_000)}`)],
    ["60,000 words about it", "too-many-tensors", fileWith(`{"__metadata__":${words}}`)],
    ["an unknown escape in a name", "header-not-json", fileWith('{"\\q":1}')],
    ["deep nesting", "header-not-json", fileWith(`{"a":${"[".repeat(900_000)}`)],
    ["a tensor twice", "duplicate-key", fileWith(`{"a":${plain},"a":${plain}}`, 8)],
    ["a tensor twice, escaped", "duplicate-key", fileWith(`{"a":${plain},"\\u0061" :${plain}}`, 8)],
    ["a field twice", "duplicate-key", fileWith(`{"a":{"dtype":"F32",${plain.slice(1)}}`, 8)],
    ["__proto__", "reserved-name", fileWith(`{"__proto__":${plain}}`, 8)],
    ["metadata that is a list", "bad-metadata", fileWith('{"__metadata__":[]}')],
    ["metadata with a number", "bad-metadata", fileWith('{"__metadata__":{"a":1}}')],
    ["a tensor that is a list", "bad-entry", fileWith('{"a":[]}')],
    ["a tensor that is null", "bad-entry", fileWith('{"a":null}')],
    ["a field too many", "bad-entry", one({ extra: 1 })],
    ["a type of another world", "unknown-dtype", one({ dtype: "F4" })],
    ["a type from the prototype", "unknown-dtype", one({ dtype: "toString" })],
    ["a negative extent", "bad-shape", one({ shape: [-2] })],
    ["a broken extent", "bad-shape", one({ shape: [1.5] })],
    ["a shape that is a string", "bad-shape", one({ shape: "2" })],
    ["rank 9", "rank", one({ shape: [2, 1, 1, 1, 1, 1, 1, 1, 1] })],
    ["an overflowing product", "size-overflow", one({ shape: [2 ** 40, 2 ** 40] })],
    ["an overflow hidden by 0", "size-overflow", one({ shape: [2 ** 40, 2 ** 40, 0] })],
    ["an overflow in bytes", "size-overflow", one({ shape: [2 ** 52] })],
    ["one offset", "bad-offsets", one({ data_offsets: [0] })],
    ["offsets that run back", "bad-offsets", one({ data_offsets: [8, 0] })],
    ["a negative offset", "bad-offsets", one({ data_offsets: [-8, 0] })],
    ["shape against bytes", "size-mismatch", one({ shape: [3] })],
    ["type against bytes", "size-mismatch", one({ dtype: "F16" })],
    ["overlapping tensors", "overlap", two(4, 12, 12)],
    ["one tensor inside another", "overlap", two(0, 4, 8)],
    ["a hole between tensors", "hole", two(12, 20, 20)],
    ["a hole at the start", "hole", one({ data_offsets: [4, 12] }, 12)],
    ["a cut file", "truncated", one({}, 7)],
    ["a byte too many", "trailing-bytes", one({}, 9)],
    ["4,097 tensors", "too-many-tensors", fileWith(JSON.stringify(many))],
  ];

  test.each(cases)("%s: %s", (_name, reason, bytes) => {
    expect(refusalOf(bytes)).toBe(reason);
  });

  test("a file that shrinks after it was opened is refused when it is read", () => {
    writeSafetensors(path, [source("a", [1, 2, 3])]);
    const file = SafetensorsFile.open(path);
    writeFileSync(path, readFileSync(path).subarray(0, statSync(path).size - 5));
    expect(() => file.read("a")).toThrow("truncated");
    file.close();
  });

  test("a mutated file is opened with tensors inside it, or refused by name", () => {
    writeSafetensors(path, [source("a", [1, 2]), source("b.weight", [3, 4, 5])], { k: "v" });
    const good = readFileSync(path);
    const mutation = fc.record({
      at: fc.nat(good.length - 1),
      remove: fc.nat(12),
      insert: fc.oneof(
        fc.uint8Array({ maxLength: 12 }),
        fc
          .constantFrom('"', "{", "}", "[", ",", "0", "-1", "1e99", "null", '"a":', "__proto__")
          .map((text) => Buffer.from(text)),
      ),
    });
    const mutants = fc.array(mutation, { minLength: 1, maxLength: 3 });
    const property = fc.property(mutants, (mutations) => {
      let bytes: Buffer = good;
      for (const { at, remove, insert } of mutations) {
        bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]);
      }
      if (refusalOf(bytes) !== null) return;
      const file = SafetensorsFile.open(path);
      for (const { name, offset, bytes: size, dtype } of file.tensors.values()) {
        expect(offset + size).toBeLessThanOrEqual(bytes.length);
        if (dtype === "F32") expect(file.read(name)).toHaveLength(size / 4);
      }
      file.close();
    });
    fc.assert(property, { numRuns: 1500 });
  });
});
