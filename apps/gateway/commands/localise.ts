/** Names and descriptions of commands in every language, from `locales/<code>/commands.json`. */
import type { LocalizationMap } from "discord.js";
import { fallbackLocale, type Translator } from "#infra/i18n/i18n.ts";

export interface Described {
  readonly name: string;
  readonly description: string;
  readonly name_localizations: LocalizationMap;
  readonly description_localizations: LocalizationMap;
}

/**
 * `path` is `chat` for a command, `chat.text` for its option. All locales are named, en-US too:
 * where it is missing, American clients show the British text before ours.
 */
export function describe(translator: Translator, path: string): Described {
  const texts = (field: "name" | "description"): LocalizationMap =>
    Object.fromEntries(
      translator.locales.map((locale) => [
        locale,
        translator.text(locale, `commands:${path}.${field}`),
      ]),
    );
  return {
    name: translator.text(fallbackLocale, `commands:${path}.name`),
    description: translator.text(fallbackLocale, `commands:${path}.description`),
    name_localizations: texts("name"),
    description_localizations: texts("description"),
  };
}
