import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { EyrieError } from "#infra/errors/error.ts";
import { errorRegistry } from "#infra/errors/registry.ts";
import { fallbackLocale, loadTranslator, resolveLocale } from "#infra/i18n/i18n.ts";

const directory = resolve(import.meta.dirname, "../../../locales");
const locales = readdirSync(directory).sort();
const catalogues = readdirSync(join(directory, fallbackLocale)).sort();
const pluralSuffix = /_(zero|one|two|few|many|other)$/;

type Texts = ReadonlyMap<string, string>;

/** Dotted key → text. */
function texts(locale: string, catalogue: string): Texts {
  const found = new Map<string, string>();
  const walk = (value: unknown, path: string): void => {
    if (typeof value === "string") return void found.set(path, value);
    for (const [key, inner] of Object.entries(value as object)) {
      walk(inner, path === "" ? key : `${path}.${key}`);
    }
  };
  walk(JSON.parse(readFileSync(join(directory, locale, catalogue), "utf8")), "");
  return found;
}

function placeholders(text: string): string[] {
  return [...text.matchAll(/\{\{(\w+)\}\}/g)].map((match) => match[1] ?? "").sort();
}

/** Keys without their plural forms. */
function bareKeys(all: Texts): string[] {
  return [...new Set([...all.keys()].map((key) => key.replace(pluralSuffix, "")))].sort();
}

function pluralForms(all: Texts): Map<string, string[]> {
  const forms = new Map<string, string[]>();
  for (const key of all.keys()) {
    const form = pluralSuffix.exec(key)?.[1];
    const bare = key.replace(pluralSuffix, "");
    if (form !== undefined) forms.set(bare, [...(forms.get(bare) ?? []), form]);
  }
  return forms;
}

describe.each(locales)("%s", (locale) => {
  test("has the same catalogues as English", () => {
    expect(readdirSync(join(directory, locale)).sort()).toEqual(catalogues);
  });

  test.each(catalogues)("%s has the same keys and placeholders as English", (catalogue) => {
    const english = texts(fallbackLocale, catalogue);
    const own = texts(locale, catalogue);
    expect(bareKeys(own)).toEqual(bareKeys(english));
    for (const [key, text] of own) {
      const original = english.get(key) ?? english.get(key.replace(pluralSuffix, "_other"));
      expect(placeholders(text), key).toEqual(placeholders(original ?? ""));
      expect(text.trim(), key).not.toBe("");
    }
  });

  test.each(catalogues)("%s has exactly the plural forms of its language", (catalogue) => {
    const wanted = new Intl.PluralRules(locale).resolvedOptions().pluralCategories.toSorted();
    for (const [key, forms] of pluralForms(texts(locale, catalogue))) {
      expect(forms.toSorted(), key).toEqual(wanted);
    }
  });

  test("has a text for every error code, and for nothing else", () => {
    const codes = Object.keys(errorRegistry).sort();
    expect([...texts(locale, "errors.json").keys()].sort()).toEqual(codes);
  });

  test("errors that users see need no values", () => {
    const errors = texts(locale, "errors.json");
    for (const [code, entry] of Object.entries(errorRegistry)) {
      if (entry.audience === "user") expect(placeholders(errors.get(code) ?? "")).toEqual([]);
    }
  });
});

describe("a translator", () => {
  test("fills values in and picks the plural of the count", async () => {
    const translator = await loadTranslator();
    const full = new EyrieError("PORT_IN_USE", { host: "127.0.0.1", port: 7802 });
    for (const locale of locales) {
      expect(translator.error(locale, full)).toMatch(/7802/);
      expect(translator.error(locale, full)).not.toMatch(/[{}]/);
    }
    expect(translator.text("en-US", "replies:reset", { count: 1 })).toMatch(/1 token of/);
    expect(translator.text("en-US", "replies:reset", { count: 2 })).toMatch(/2 tokens of/);
  });

  test("keeps what a value says as it is", async () => {
    const translator = await loadTranslator();
    const error = new EyrieError("USAGE", { reason: "<b> & 'c'" });
    expect(translator.error("en-US", error)).toContain("<b> & 'c'");
  });

  test("finds the language we have, never another one", () => {
    expect(resolveLocale("de", locales)).toBe("de");
    expect(resolveLocale("en-GB", locales)).toBe("en-US");
    expect(resolveLocale("ja_JP.UTF-8", locales)).toBe("ja");
    expect(resolveLocale("fr", locales)).toBe(fallbackLocale);
  });
});
