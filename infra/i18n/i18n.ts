/**
 * Texts for people, by locale. Catalogues are `locales/<code>/{commands,replies,errors,terminal}.json`;
 * an unknown or incomplete locale falls back to en-US, never to another language silently.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInstance } from "i18next";
import { EyrieError } from "#infra/errors/error.ts";

const localesDirectory = resolve(import.meta.dirname, "../../locales");
const namespaces = ["commands", "replies", "errors", "terminal"] as const;
export type Namespace = (typeof namespaces)[number];
export const fallbackLocale = "en-US";

type Values = Readonly<Record<string, string | number>>;

export interface Translator {
  readonly locales: readonly string[];
  /** The locale we have for one that Discord or the system names: `en-GB` → `en-US`, `de-AT` → `de`. */
  resolve(locale: string): string;
  /** `key` is `<namespace>:<key>`; `values` fill placeholders, `count` picks the plural form. */
  text(locale: string, key: `${Namespace}:${string}`, values?: Values): string;
  /** The message of an error in `locale`. */
  error(locale: string, error: EyrieError): string;
}

export async function loadTranslator(): Promise<Translator> {
  const locales = readdirSync(localesDirectory).sort();
  const resources = Object.fromEntries(
    locales.map((locale) => [
      locale,
      Object.fromEntries(namespaces.map((name) => [name, readCatalogue(locale, name)])),
    ]),
  );
  const i18n = createInstance();
  await i18n.init({
    resources,
    fallbackLng: fallbackLocale,
    ns: namespaces,
    defaultNS: "replies",
    interpolation: { escapeValue: false },
    returnNull: false,
  });
  // What has no values is the same every time, and looking it up is not cheap.
  const fixed = new Map<string, string>();
  const fixedText = (locale: string, key: string): string => {
    const known = fixed.get(`${locale} ${key}`);
    if (known !== undefined) return known;
    const text = i18n.t(key, { lng: locale });
    fixed.set(`${locale} ${key}`, text);
    return text;
  };
  return {
    locales,
    resolve: (locale) => resolveLocale(locale, locales),
    text: (locale, key, values) =>
      values === undefined ? fixedText(locale, key) : i18n.t(key, { lng: locale, ...values }),
    error: (locale, error) => i18n.t(`errors:${error.code}`, { lng: locale, ...error.values }),
  };
}

/** The locale itself, else one of the same language, else the fallback. */
export function resolveLocale(locale: string, locales: readonly string[]): string {
  if (locales.includes(locale)) return locale;
  const language = locale.split(/[-_.]/)[0];
  return locales.find((candidate) => candidate.split("-")[0] === language) ?? fallbackLocale;
}

function readCatalogue(locale: string, name: Namespace): Record<string, unknown> {
  const path = join(localesDirectory, locale, `${name}.json`);
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
}
