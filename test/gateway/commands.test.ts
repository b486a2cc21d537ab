import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type APIApplicationCommandOption, Locale, SlashCommandAssertions } from "discord.js";
import { describe, expect, test } from "vitest";
import { commandPayload } from "#apps/gateway/commands/registry.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";

interface Named {
  readonly name: string;
  readonly description: string;
  readonly name_localizations?: object | null;
  readonly description_localizations?: object | null;
  readonly options?: readonly APIApplicationCommandOption[];
}

const payload = commandPayload(await loadTranslator()) as unknown as readonly Named[];
const withOptions = payload.flatMap((command) => [
  command,
  ...((command.options ?? []) as readonly Named[]),
]);
const locales = Object.keys(payload[0]?.name_localizations ?? {});

describe("the command list", () => {
  test.each(withOptions)("$name is named and described validly in every language", (entry) => {
    SlashCommandAssertions.validateName(entry.name);
    SlashCommandAssertions.validateDescription(entry.description);
    for (const name of Object.values(entry.name_localizations ?? {})) {
      SlashCommandAssertions.validateName(name);
    }
    for (const text of Object.values(entry.description_localizations ?? {})) {
      SlashCommandAssertions.validateDescription(text);
    }
  });

  test("is localised into locales that Discord knows, en-US among them", () => {
    expect(locales).toContain("en-US");
    const known: string[] = Object.values(Locale);
    for (const locale of locales) expect(known).toContain(locale);
  });

  test.each(locales)("has no name twice in %s", (locale) => {
    const inLocale = (entry: Named): string =>
      (entry.name_localizations as Record<string, string>)[locale] ?? entry.name;
    const names = payload.map(inLocale);
    expect(new Set(names).size).toBe(names.length);
    for (const command of payload) {
      const options = ((command.options ?? []) as readonly Named[]).map(inLocale);
      expect(new Set(options).size).toBe(options.length);
    }
  });

  test("is told in the README, and nothing else is", () => {
    const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
    const told = [...readme.matchAll(/^\| `\/(\w+)[^|]*\|/gm)].map((match) => match[1] ?? "");
    expect(new Set(told)).toEqual(new Set(payload.map(({ name }) => name)));
  });

  test("stays within 8,000 characters per command", () => {
    for (const command of payload) {
      expect(JSON.stringify(command).length).toBeLessThan(8_000);
    }
  });
});
