/** The World tokenizer: the file parsed to the letter, encoding exact and longest, streams whole. */
import { existsSync, readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ModelError } from "#kernels/errors.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { parseVocabulary, readVocabulary } from "#kernels/tokenizer/vocabulary.ts";

/** Lines 1 … 256 of any World vocabulary: every single byte. */
const byteLines = Array.from({ length: 256 }, (_, byte) => {
  const hex = byte.toString(16).padStart(2, "0");
  return `${byte + 1} ${byte < 128 ? "" : "b"}'\\x${hex}' 1`;
});

function vocabularyText(...lines: string[]): Buffer {
  return Buffer.from(`${[...byteLines, ...lines].join("\n")}\n`);
}

function refusal(file: Uint8Array): { line: number; reason: string } {
  try {
    parseVocabulary(file, "vocab.txt");
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    const { code, values } = error as ModelError;
    expect(code).toBe("VOCABULARY_BROKEN");
    expect(values.path).toBe("vocab.txt");
    return { line: Number(values.line), reason: String(values.reason) };
  }
  return { line: -1, reason: "accepted" };
}

describe("the vocabulary file", () => {
  test.each([
    ["'a b  c'", 6, "a b  c"],
    [`"it's"`, 4, "it's"],
    [`'say "no"'`, 8, 'say "no"'],
    [`'\\'"'`, 2, `'"`],
    ["'\\t\\n\\r\\\\'", 4, "\t\n\r\\"],
    ["'\\x80'", 2, "\x80"],
    ["'\\u200d'", 3, "\u200D"],
    ["'語'", 3, "語"],
    ["'🦅'", 4, "🦅"],
  ])("str %s", (literal, length, text) => {
    const vocabulary = parseVocabulary(vocabularyText(`300 ${literal} ${length}`), "v");
    expect(Buffer.from(vocabulary[300]!).toString()).toBe(text);
    expect(vocabulary[299]).toBeUndefined();
  });

  test("bytes literals hold raw bytes", () => {
    const vocabulary = parseVocabulary(vocabularyText("300 b'a\\xe9\\x9d' 3"), "v");
    expect([...vocabulary[300]!]).toEqual([0x61, 0xe9, 0x9d]);
  });

  test.each([
    ["no length", "300 'ab'", "not <id>"],
    ["a wrong length", "300 'ab' 3", "token has 2 bytes, the line says 3"],
    ["a length in characters", "300 'é' 1", "token has 2 bytes"],
    ["a length of no number", "300 'ab' 2x", "length is not a number"],
    ["id 0", "0 'ab' 2", "id is not"],
    ["id 65536", "65536 'ab' 2", "id is not"],
    ["an id with a sign", "+300 'ab' 2", "id is not"],
    ["an id with a leading zero", "0300 'ab' 2", "id is not"],
    ["an id twice", "256 'ab' 2", "id 256 appears twice"],
    ["a token twice", "300 'a' 1", "ids 98 and 300 are equal"],
    ["an empty token", "300 '' 0", "token is empty"],
    ["no quotes", "300 ab 2", "not a quoted literal"],
    ["quotes that differ", `300 'ab" 2`, "not a quoted literal"],
    ["another prefix", "300 u'ab' 2", "not a quoted literal"],
    ["a bare quote", "300 'a'b' 3", "unknown escape or bare quote"],
    ["an unknown escape", "300 '\\a' 1", "unknown escape"],
    ["a short escape", "300 '\\x8' 1", "unknown escape"],
    ["a wide escape in bytes", "300 b'\\u0041' 1", "unknown escape"],
    ["a backslash at the end", "300 'a\\' 2", "unknown escape"],
    ["a wide character in bytes", "300 b'語' 3", "wide character"],
    ["a lone surrogate", "300 '\\ud800' 3", "lone surrogate"],
    ["a blank line", "", "not <id>"],
    ["a Windows line end", "300 'ab' 2\r", "length is not a number"],
  ])("%s is refused with its line", (_name, line, reason) => {
    const actual = refusal(vocabularyText("299 'fine' 4", line, "301 'also' 4"));
    expect(actual.reason).toContain(reason);
    expect(actual.line).toBe(258);
  });

  test("bytes that are not UTF-8, and a byte without a token, are refused", () => {
    expect(refusal(Buffer.from([0xff])).reason).toBe("not UTF-8");
    const without = byteLines.filter((line) => !line.startsWith("66 ")).join("\n");
    expect(refusal(Buffer.from(without)).reason).toBe("no token for the byte 65");
  });

  test("a missing file is VOCABULARY_MISSING", () => {
    expect(() => readVocabulary("/nowhere/vocab.txt")).toThrow("VOCABULARY_MISSING");
  });
});

describe("encoding", () => {
  const words = [
    "ab",
    "abc",
    "abcde",
    "bcd",
    "é",
    "日本",
    "日本語",
    "  ",
    "    ",
    "\n\n",
    "\n\n\n",
  ];
  const lines = words.map(
    (w, i) => `${300 + i} '${w.replaceAll("\n", "\\n")}' ${Buffer.byteLength(w)}`,
  );
  const vocabulary = parseVocabulary(vocabularyText(...lines, "400 b'\\xe6\\x97' 2"), "v");
  const tokenizer = new Tokenizer(vocabulary);
  const idOf = new Map(
    vocabulary.flatMap((bytes, id) => (bytes ? [[Buffer.from(bytes).toString("hex"), id]] : [])),
  );

  /** The longest token at each position, by trying every length. */
  function encodeSlowly(bytes: Uint8Array): number[] {
    const ids: number[] = [];
    for (let at = 0; at < bytes.length;) {
      let length = 16;
      let id: number | undefined;
      while (id === undefined)
        id = idOf.get(Buffer.from(bytes.slice(at, at + length--)).toString("hex"));
      ids.push(id);
      at += vocabulary[id]!.length;
    }
    return ids;
  }

  const pieces = fc.array(
    fc.oneof(fc.constantFrom(...words, "a", "bc", "日"), fc.string({ unit: "binary" })),
  );
  const texts = pieces.map((parts) => parts.join(""));

  test("takes the longest token at each position", () => {
    expect(tokenizer.encode("abcdabcde")).toEqual([301, 101, 302]);
    fc.assert(
      fc.property(
        fc.oneof(
          texts.map((text) => Buffer.from(text)),
          fc.uint8Array(),
        ),
        (bytes) => {
          expect(tokenizer.encode(bytes)).toEqual(encodeSlowly(bytes));
        },
      ),
    );
  });

  test("decodes to the same bytes", () => {
    const property = fc.property(fc.oneof(texts, fc.uint8Array()), (input) => {
      const bytes = Buffer.from(input as string);
      expect(Buffer.from(tokenizer.decode(tokenizer.encode(input))).equals(bytes)).toBe(true);
    });
    fc.assert(property);
  });

  test("a lone surrogate becomes U+FFFD", () => {
    expect(Buffer.from(tokenizer.decode(tokenizer.encode("a\uD800b"))).toString()).toBe("a\uFFFDb");
  });

  test("ids without a token decode to nothing", () => {
    expect(tokenizer.decode([0, 65_530, 65_535, 70_000, -1, 1.5, Number.NaN])).toHaveLength(0);
  });

  test("a stream's pieces are TextDecoder's text, each piece whole", () => {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const ids = fc.array(
      fc.oneof(fc.integer({ min: 0, max: 256 }), fc.constantFrom(304, 306, 400, 65_535)),
    );
    const snippets = fc.oneof(
      ids,
      fc.string({ unit: "binary" }).map((text) => [...Buffer.from(text)].map((byte) => byte + 1)),
    );
    const property = fc.property(snippets, (tokens) => {
      const stream = tokenizer.stream();
      let text = "";
      for (const token of tokens) text += stream.push(token);
      expect(text + stream.flush()).toBe(decoder.decode(tokenizer.decode(tokens)));
    });
    fc.assert(property, { numRuns: 500 });
  });

  test("a character split over tokens is held back until it is whole", () => {
    const stream = tokenizer.stream();
    const eagle = [...Buffer.from("🦅")].map((byte) => byte + 1);
    expect(eagle.map((id) => stream.push(id))).toEqual(["", "", "", "🦅"]);
    expect(stream.push(eagle[0]!)).toBe("");
    expect(stream.push(0)).toBe("");
    expect(stream.push(98)).toBe("\uFFFDa");
    expect(stream.push(eagle[0]!)).toBe("");
    expect(stream.flush()).toBe("\uFFFD");
    expect(stream.flush()).toBe("");
  });
});

const worldPath = fileURLToPath(
  new URL("../../../shared/data/rwkv_vocab_v20230424.txt", import.meta.url),
);

describe.skipIf(!existsSync(worldPath))("the World vocabulary of 2023-04-24", () => {
  const vocabulary = existsSync(worldPath) ? readVocabulary(worldPath) : [];

  test("is the file of the known checksum", () => {
    const sum = createHash("sha256").update(readFileSync(worldPath)).digest("hex");
    expect(sum).toBe("e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89");
  });

  test("has 65,529 tokens, ids 1 to 65529, single bytes first, the longest of 128 spaces", () => {
    expect(vocabulary).toHaveLength(65_530);
    expect(vocabulary.filter((bytes) => bytes !== undefined)).toHaveLength(65_529);
    for (let byte = 0; byte < 256; byte++) expect([...vocabulary[byte + 1]!]).toEqual([byte]);
    expect(Buffer.from(vocabulary[65_529]!).toString()).toBe(" ".repeat(128));
    expect([...vocabulary[2423]!]).toEqual([0xc2, 0x80]);
    const fatal = new TextDecoder("utf-8", { fatal: true });
    const invalid = vocabulary.filter((bytes) => {
      try {
        return bytes !== undefined && fatal.decode(bytes) === null;
      } catch {
        return true;
      }
    });
    expect(invalid).toHaveLength(486);
  });

  test("gives the known ids", () => {
    const tokenizer = new Tokenizer(vocabulary);
    const known: [string, number[]][] = [
      ["\n", [11]],
      ["\r", [14]],
      [" ", [33]],
      [":", [59]],
      ["\n\n", [261]],
      ["\r\n", [263]],
      ["\n\n\n", [3328]],
      ["\n\n\n\n", [19_239]],
      ["User", [24_281]],
    ];
    for (const [text, ids] of known) expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.encode("Assistant").length).toBeGreaterThan(1);
    expect(tokenizer.encode(":\n\n").length).toBeGreaterThan(1);
  });

  test("every token is encoded as itself, and decoded to its bytes", () => {
    const tokenizer = new Tokenizer(vocabulary);
    for (let id = 1; id <= 65_529; id++) {
      const bytes = vocabulary[id]!;
      const ids = tokenizer.encode(bytes);
      if (ids.length !== 1 || ids[0] !== id) expect.fail(`token ${id} is encoded as ${ids.join()}`);
    }
    expect(tokenizer.decode([0, 65_530, 65_535])).toHaveLength(0);
  });

  test("any text in any script comes back", () => {
    const tokenizer = new Tokenizer(vocabulary);
    const property = fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      expect(Buffer.from(tokenizer.decode(tokenizer.encode(text))).toString()).toBe(text);
    });
    fc.assert(property);
  });
});
