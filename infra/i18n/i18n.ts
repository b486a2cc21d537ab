/**
 * Texts for people, by locale. Catalogues are `locales/<code>/{commands,replies,errors}.json`;
 * an unknown or incomplete locale falls back to en-US, never to another language silently.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInstance } from "i18next";
import { EyrieError } from "#infra/errors/error.ts";

const localesDirectory = resolve(import.meta.dirname, "../../locales");
const namespaces = ["commands", "replies", "errors"] as const;
export type Namespace = (typeof namespaces)[number];
export const fallbackLocale = "en-US";

type Values = Readonly<Record<string, string | number>>;

export interface Translator {
  readonly locales: readonly string[];
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
  return {
    locales,
    text: (locale, key, values = {}) => i18n.t(key, { lng: locale, ...values }),
    error: (locale, error) => i18n.t(`errors:${error.code}`, { lng: locale, ...error.values }),
  };
}

function readCatalogue(locale: string, name: Namespace): Record<string, unknown> {
  const path = join(localesDirectory, locale, `${name}.json`);
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
}
