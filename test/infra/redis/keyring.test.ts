import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { EyrieError } from "#infra/errors/error.ts";
import { addKeyToFile } from "#infra/redis/key-file.ts";
import { keyIdOf, KeyRing, newKey, type Place } from "#infra/redis/keyring.ts";
import { configuredRecords, keyIdOfText, plainRecords, Records } from "#infra/redis/records.ts";

const [one, two] = [newKey(), newKey()];
const place: Place = { kind: "reply record", key: "eyrie:{1}:cli-a:reply:5:0" };
const directory = mkdtempSync(join(tmpdir(), "eyrie-keys-"));

afterAll(() => rmSync(directory, { recursive: true }));

function codeOf(work: () => unknown): string {
  try {
    work();
    return "";
  } catch (error) {
    return error instanceof EyrieError ? error.code : String(error);
  }
}

describe("a ring", () => {
  test("opens what any of its keys sealed, and seals with the first", () => {
    const old = new Records(KeyRing.parse(one));
    const both = new Records(KeyRing.parse(`${two}, ${one}`));
    fc.assert(
      fc.property(fc.jsonValue(), fc.uint8Array(), (value, bytes) => {
        const plain = Buffer.from(bytes);
        expect(both.decode(old.encode(value, place), place)).toEqual(
          JSON.parse(JSON.stringify(value)),
        );
        expect(both.open(old.seal(plain, place), place)).toEqual(plain);
      }),
      { numRuns: 30 },
    );
    expect(keyIdOfText(both.encode(1, place), place)).toBe(KeyRing.parse(two).primary);
    expect(codeOf(() => old.decode(both.encode(1, place), place))).toBe("KEY_MISSING");
    expect(codeOf(() => plainRecords.decode(old.encode(1, place), place))).toBe("KEY_MISSING");
    // Written before there were keys.
    expect(both.decode(plainRecords.encode({ a: 1 }, place), place)).toEqual({ a: 1 });
  });

  test("never seals the same twice in the same bytes", () => {
    const ring = KeyRing.parse(one);
    const sealed = Array.from({ length: 100 }, () => ring.seal(Buffer.from("x"), place));
    expect(new Set(sealed.map((record) => record.toString("hex"))).size).toBe(100);
    expect(sealed[0]?.length).toBe(1 + 33);
  });

  test("opens a record at its own place only: another conversation, key or kind is refused", () => {
    const ring = KeyRing.parse(one);
    const sealed = ring.seal(Buffer.from("secret"), place);
    const others: Place[] = [
      { ...place, key: "eyrie:{1}:cli-b:reply:5:0" },
      { ...place, key: "eyrie:{1}:cli-a:reply:5:1" },
      { ...place, kind: "mailbox" },
    ];
    for (const other of others) {
      expect(codeOf(() => ring.open(sealed, other))).toBe("RECORD_CORRUPT");
    }
  });

  test("refuses every flipped bit and every cut by name, of bytes and of text", () => {
    const records = new Records(KeyRing.parse(one));
    const sealed = records.seal(Buffer.from("a token block"), place);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const flipped = Buffer.from(sealed);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      // Without its first byte it is no sealed record, and its own reader's affair.
      const code = codeOf(() => records.open(flipped, place));
      expect(code, `bit ${bit}`).toBe(bit < 8 ? "" : bit < 40 ? "KEY_MISSING" : "RECORD_CORRUPT");
    }
    for (let length = 1; length < sealed.length; length++) {
      expect(codeOf(() => records.open(sealed.subarray(0, length), place))).toBe("RECORD_CORRUPT");
    }
    const text = Buffer.from(records.encode({ text: "grüß dich" }, place));
    for (let bit = 0; bit < text.length * 8; bit++) {
      const flipped = Buffer.from(text);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const code = codeOf(() => records.decode(flipped.toString(), place));
      expect(["RECORD_CORRUPT", "KEY_MISSING"], `bit ${bit}`).toContain(code);
    }
  });
});

describe("keys that cannot be used: KEYS_INVALID, and no key in the message", () => {
  const mistyped = one.replace(/.$/, (last) => (last === "A" ? "B" : "A"));
  test.each([
    ["not a key", "hunter2hunter2", "entry 1 is not a key"],
    ["mistyped", mistyped, "entry 1 is a mistyped key"],
    ["cut", `${two},${one.slice(0, -1)}`, "entry 2 is not a key"],
    ["twice the same", `${one},${one}`, "there twice"],
    ["none", " , ", "no key"],
    ["no such file", "/nowhere/keys", "/nowhere/keys cannot be read (ENOENT)"],
    ["too many", Array.from({ length: 65 }, newKey).join("\n"), "more than 64"],
  ])("%s", (_, setting, reason) => {
    try {
      KeyRing.parse(setting);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: "KEYS_INVALID", exitCode: 2 });
      expect(String(error)).toContain(reason);
      expect(String(error)).not.toContain(one.slice(16));
      expect(String(error)).not.toContain("hunter2");
    }
  });

  test("production without any: KEYS_REQUIRED; the demo runs without", () => {
    const production = { EYRIE_KEYS: undefined, EYRIE_PROFILE: "production" } as const;
    expect(codeOf(() => configuredRecords(production))).toBe("KEYS_REQUIRED");
    expect(configuredRecords({ ...production, EYRIE_PROFILE: "demo" }).ring).toBeNull();
    expect(configuredRecords({ ...production, EYRIE_KEYS: one }).ring?.ids).toHaveLength(1);
  });
});

describe("a file of keys", () => {
  test("gets the newest in front, is its owner's only, and may hold remarks", () => {
    const path = join(directory, "keys");
    const first = addKeyToFile(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    writeFileSync(path, `# of spring\n${readFileSync(path, "utf8")}`);
    const second = addKeyToFile(path);
    expect(second.ids).toEqual([second.primary, first.primary]);
    expect(KeyRing.parse(path).ids).toEqual(second.ids);
  });

  test("that holds something else is left alone; a folder that refuses is named", () => {
    const path = join(directory, "notes");
    writeFileSync(path, "dear diary\n");
    expect(codeOf(() => addKeyToFile(path))).toBe("KEYS_INVALID");
    expect(readFileSync(path, "utf8")).toBe("dear diary\n");
    expect(codeOf(() => addKeyToFile(join(directory, "none", "keys")))).toBe("FOLDER_UNWRITABLE");
  });
});

test("a sealed record names its key, a plain one none", () => {
  const ring = KeyRing.parse(one);
  expect(keyIdOf(ring.seal(Buffer.of(1), place))).toBe(ring.primary);
  expect(keyIdOf(Buffer.from("EYRSTATE"))).toBeNull();
});
