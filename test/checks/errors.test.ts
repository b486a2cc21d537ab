/** The registry of errors has a text for each code in each language, and a test that provokes it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { errorRegistry } from "#infra/errors/registry.ts";
import { contentOf, root, trackedFiles } from "./tree.ts";

const languages = ["en-US", "de", "ja"] as const;
const codes = Object.keys(errorRegistry).sort();
const fileOf = (language: string) => join("locales", language, "errors.json");
const written = languages.every((language) => existsSync(join(root, fileOf(language))));

function textsOf(language: string): Record<string, string> {
  return z.record(z.string(), z.string()).parse(JSON.parse(contentOf(fileOf(language))));
}

/** The names in `{{name}}`; formats after a comma are the language's own affair. */
function placeholders(text: string): string[] {
  return [...text.matchAll(/\{\{\s*(\w+)[^}]*\}\}/g)].map((match) => match[1]!).sort();
}

/** Codes that no text names as a whole word. */
function unnamed(texts: readonly string[]): string[] {
  const named = new Set(texts.flatMap((text) => text.match(/\b[A-Z][A-Z_]+\b/g) ?? []));
  return codes.filter((code) => !named.has(code));
}

describe.skipIf(!written)("every error", () => {
  test.each(languages)("has a text in %s, and no text is left over", (language) => {
    const texts = textsOf(language);
    expect(Object.keys(texts).sort()).toEqual(codes);
    expect(Object.entries(texts).filter(([, text]) => text.trim() === "")).toEqual([]);
  });

  test.each(languages.slice(1))("says the same in %s: the same placeholders", (language) => {
    const [english, other] = [textsOf(languages[0]), textsOf(language)];
    expect(codes.map((code) => [code, placeholders(other[code] ?? "")])).toEqual(
      codes.map((code) => [code, placeholders(english[code] ?? "")]),
    );
  });

  test("is provoked by a test", () => {
    const tests = trackedFiles().filter((path) => /^test\/(?!checks\/).*\.ts$/.test(path));
    expect(unnamed(tests.map(contentOf))).toEqual([]);
  });
});

test("a code that no test names is noticed, also when a longer one contains it", () => {
  const texts = codes.filter((code) => code !== "USAGE").map((code) => `expect("${code}")`);
  expect(unnamed([...texts, "USAGE_OTHER"])).toEqual(["USAGE"]);
  expect(placeholders("{{limit, number}} of {{ max }}")).toEqual(["limit", "max"]);
});
