/** What a verb says: its own words in the operator's language, JSON, and how far it has come. */
import { loadConfig } from "#infra/config/config.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { ProgressBar } from "./progress.ts";

export function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** A line of `terminal.json`. */
export async function say(key: string, values: Record<string, string | number>): Promise<void> {
  process.stdout.write(`${await spoken(key, values)}\n`);
}

export async function spoken(
  key: string,
  values: Record<string, string | number> = {},
): Promise<string> {
  const translator = await loadTranslator();
  return translator.text(loadConfig(process.env).EYRIE_LOCALE, `terminal:${key}`, values);
}

export interface Bar {
  readonly update: (done: number, total: number) => void;
  readonly clear: () => void;
}

/** A bar that begins when the total is known; `amount` as in {@link ProgressBar}. */
export async function progressBar(
  label: string,
  options: { readonly amount?: (count: number) => string } = {},
): Promise<Bar> {
  const translator = await loadTranslator();
  const locale = loadConfig(process.env).EYRIE_LOCALE;
  const timeLeft = (time: string): string =>
    translator.text(locale, "terminal:pull.left", { time });
  let bar: ProgressBar | null = null;
  return {
    update: (done, total) =>
      (bar ??= new ProgressBar(label, total, { timeLeft, ...options })).update(done),
    clear: () => bar?.clear(),
  };
}
