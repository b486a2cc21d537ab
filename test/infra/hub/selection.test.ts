import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EyrieError } from "#infra/errors/error.ts";
import { type RemoteFile, readRetryAfter } from "#infra/hub/hub.ts";
import { knownModels } from "#infra/hub/known-models.ts";
import {
  checkRevision,
  isModelName,
  parseWanted,
  selectFiles,
  vocabularyAmong,
  weightsAmong,
} from "#infra/hub/selection.ts";

function chosen(...paths: string[]): readonly string[] {
  const digest = { algorithm: "sha256", hex: "0".repeat(64) } as const;
  const file = (path: string): RemoteFile => ({ repo: "ada/x", path, bytes: 1, digest });
  const repository = { repo: "ada/x", commit: "0".repeat(40), files: paths.map(file) };
  return selectFiles(repository).map(({ path }) => path);
}

describe("what is taken of a repository", () => {
  test.each([
    [["a.pth", "b.safetensors", "c.bin"], ["b.safetensors"]],
    [["a.pth", "c.bin", "README.md", "old/b.safetensors"], ["a.pth"]],
    [
      ["eagle.st", "model.json"],
      ["eagle.st", "model.json"],
    ],
    [
      ["a.pth", "vocab.txt", "rwkv_vocab_v20230424.txt"],
      ["a.pth", "rwkv_vocab_v20230424.txt"],
    ],
    [
      ["pytorch_model.bin", "vocab.txt"],
      ["pytorch_model.bin", "vocab.txt"],
    ],
    [["../a.pth", ".b.pth", "a b.pth", "c.pth.partial", "d.pth"], ["d.pth"]],
  ])("%j", (paths, expected) => {
    expect(chosen(...paths)).toEqual(expected);
  });

  test("all parts of one sharded model, with its index", () => {
    const parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    const index = "model.safetensors.index.json";
    expect(chosen(index, ...parts, "c.bin")).toEqual([...parts, index]);
  });

  test("never one of several", () => {
    expect(() => chosen("a.pth", "b.pth")).toThrow("PULL_AMBIGUOUS");
    expect(() => chosen("a-00001-of-00002.pth", "b-00002-of-00002.pth")).toThrow("PULL_AMBIGUOUS");
    expect(() => chosen("README.md")).toThrow("HUB_NOT_FOUND");
  });
});

test("whatever is asked for, its folder stays in ours", () => {
  const piece = fc.oneof(fc.constantFrom("..", ".", "", "~", "a", "\0", "C:", "\\"), fc.string());
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 5 }), (pieces) => {
      try {
        const { name } = parseWanted(pieces.join("/"));
        expect(isModelName(name)).toBe(true);
        expect(name).not.toMatch(/[/\\]|^\./);
      } catch (error) {
        expect((error as EyrieError).code).toBe("USAGE");
      }
    }),
  );
});

test("two things never share a folder", () => {
  const wanted = [
    "eagle-7b",
    "ada/eagle",
    "ada/eagle/a.pth",
    "ada/eagle/b.pth",
    "ada/eagle/a/b.pth",
  ];
  expect(new Set(wanted.map((text) => parseWanted(text).name)).size).toBe(wanted.length);
  const long = "x".repeat(150);
  expect(() => parseWanted(`ada/${long}/${long}.pth`)).toThrow("USAGE");
});

test("known models are whole: a weights file and the vocabulary, with sizes and SHA-256", () => {
  expect(knownModels.size).toBe(5);
  for (const [name, files] of knownModels) {
    expect(isModelName(name)).toBe(true);
    const names = files.map(({ path }) => path);
    expect([weightsAmong(names), vocabularyAmong(names)]).toEqual(names);
    for (const { bytes, digest } of files) {
      expect(bytes).toBeGreaterThan(1e6);
      expect(digest).toMatchObject({ algorithm: "sha256", hex: expect.stringMatching(/^\w{64}$/) });
    }
  }
});

test("revisions", () => {
  for (const text of ["main", "v1.0", "refs/pr/11", "0123abc"]) checkRevision(text);
  for (const text of ["", "../main", "a b", "main?x", "/main"]) {
    expect(() => checkRevision(text)).toThrow("USAGE");
  }
});

test("Retry-After in seconds, as a date, and as nonsense", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  expect(readRetryAfter("120", now)).toBe(120_000);
  expect(readRetryAfter("Thu, 01 Jan 2026 00:00:30 GMT", now)).toBe(30_000);
  expect(readRetryAfter("Wed, 31 Dec 2025 00:00:00 GMT", now)).toBe(0);
  expect(readRetryAfter("soon", now)).toBeNull();
  expect(readRetryAfter(null, now)).toBeNull();
});
