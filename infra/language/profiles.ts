/**
 * The languages, and how often each n-gram occurs in our text of each: counting, the file format and
 * the log-probabilities of a multinomial naive Bayes model. One line of `profiles.tsv` is a feature,
 * a tab, and for each language that has it a letter (place in `latinLanguages`) and a count.
 * A file that does not parse throws when it is loaded: it was generated, so that is a broken checkout.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { features, latinWords, withoutAccents, withoutMarkup } from "#infra/language/words.ts";

export const languages = [
  "ar",
  "de",
  "en",
  "es",
  "et",
  "eu",
  "fr",
  "hi",
  "ht",
  "id",
  "it",
  "ja",
  "my",
  "pt",
  "qu",
  "ru",
  "sw",
  "ta",
  "te",
  "th",
  "tr",
  "vi",
  "zh",
] as const;
export type Language = (typeof languages)[number];

/** Those met in Latin letters; ar, hi, ru, ta and te as people romanise them in chats. */
export const latinLanguages = languages.filter(
  (language) => !(["ja", "my", "th", "zh"] as Language[]).includes(language),
);

/** Per feature one count for each of `latinLanguages`. */
export type Counts = ReadonlyMap<string, readonly number[]>;

export interface Profiles {
  /** Feature → its row in `logProbability`. */
  readonly rows: ReadonlyMap<string, number>;
  /** rows × languages. */
  readonly logProbability: Float32Array;
  /** The log-probability of a feature that a language's text does not have. */
  readonly unseen: number;
}

const letterA = 97;
/** Added to every count; chosen among 0.1, 0.3, 0.5 and 1 (README). */
const smoothing = 0.3;

/** The lines a language's profile is made from; those alone in their script need none. */
export function trainingText(language: Language): string[] {
  const file = readFileSync(join(import.meta.dirname, "text", `${language}.txt`), "utf8");
  return file.split("\n").filter((line) => line !== "");
}

/** Each line counts twice, as it is and as typed without accents. */
export function countFeatures(linesOf: (language: Language) => readonly string[]): Counts {
  const counts = new Map<string, number[]>();
  for (const [place, language] of latinLanguages.entries()) {
    for (const line of linesOf(language)) {
      const plain = withoutMarkup(line);
      for (const word of [...latinWords(plain), ...latinWords(withoutAccents(plain))]) {
        for (const feature of features(word)) {
          const row = counts.get(feature) ?? latinLanguages.map(() => 0);
          row[place] = (row[place] ?? 0) + 1;
          counts.set(feature, row);
        }
      }
    }
  }
  return counts;
}

export function formatCounts(counts: Counts): string {
  const sorted = [...counts].sort(([left], [right]) => (left < right ? -1 : 1));
  const lines = sorted.map(([feature, row]) => {
    const pairs = row.map((n, place) => (n > 0 ? String.fromCharCode(letterA + place) + n : ""));
    return `${feature}\t${pairs.join("")}\n`;
  });
  return lines.join("");
}

export function parseCounts(file: string): Counts {
  const counts = new Map<string, number[]>();
  for (const line of file.split("\n").slice(0, -1)) {
    const [feature, pairs] = line.split("\t");
    if (!feature || !pairs || !/^([a-z]\d+)+$/.test(pairs)) throw new Error(`bad profile: ${line}`);
    const row = latinLanguages.map(() => 0);
    for (const [, letter = "", n] of pairs.matchAll(/([a-z])(\d+)/g)) {
      row[letter.charCodeAt(0) - letterA] = Number(n);
    }
    counts.set(feature, row);
  }
  return counts;
}

/** Counts are first scaled to the same total, so that a language with more text is no likelier. */
export function buildProfiles(counts: Counts): Profiles {
  const width = latinLanguages.length;
  const totals = latinLanguages.map(() => 0);
  for (const row of counts.values()) row.forEach((n, place) => (totals[place]! += n));
  const meanTotal = totals.reduce((sum, total) => sum + total, 0) / width;
  const denominator = Math.log(meanTotal + smoothing * counts.size);
  const rows = new Map<string, number>();
  const logProbability = new Float32Array(counts.size * width);
  for (const [feature, row] of counts) {
    const start = rows.size * width;
    rows.set(feature, rows.size);
    row.forEach((n, place) => {
      const scaled = (n * meanTotal) / totals[place]!;
      logProbability[start + place] = Math.log(scaled + smoothing) - denominator;
    });
  }
  return { rows, logProbability, unseen: Math.fround(Math.log(smoothing) - denominator) };
}
