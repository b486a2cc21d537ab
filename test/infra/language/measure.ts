/**
 * How often identifyLanguage is right on text that no profile was trained on: the everyday lines of
 * this folder and the dialogues' two held-out sets. Not naming a language counts as a miss.
 */
import { existsSync, readFileSync } from "node:fs";
import { identifyLanguage } from "#infra/language/identify.ts";
import { languages, type Language } from "#infra/language/profiles.ts";
import { readHeldOut } from "#test/eaglet/corpus.ts";

export const sets = ["everyday", "working", "final"] as const;
export type TestSet = (typeof sets)[number];

export interface Figures {
  lines: number;
  /** Shares of all lines, in percent. */
  right: number;
  named: number;
  /** In percent of the lines that were named. */
  wrongOfNamed: number;
  /** `right`, of the lines of at least four words. */
  rightOfLonger: number;
}

export interface Measured {
  readonly overall: Figures;
  readonly languages: Readonly<Partial<Record<Language, Figures>>>;
  /** "pt → es": how many lines. */
  readonly confusions: Readonly<Record<string, number>>;
}

interface Answer {
  readonly asked: Language;
  readonly named: Language | null;
  readonly isLonger: boolean;
}

/** A language without a held-out file in a set is left out of it. */
export function measure(set: TestSet): Measured {
  const answers = languages.flatMap((asked) =>
    heldOutLines(set, asked).map((line): Answer => {
      const isLonger = wordCount(line) >= 4;
      return { asked, named: identifyLanguage(line).language, isLonger };
    }),
  );
  const perLanguage: Partial<Record<Language, Figures>> = {};
  for (const language of languages) {
    const own = answers.filter(({ asked }) => asked === language);
    if (own.length > 0) perLanguage[language] = figures(own);
  }
  const confusions: Record<string, number> = {};
  for (const { asked, named } of answers.filter(isWrong)) {
    const pair = `${asked} → ${named}`;
    confusions[pair] = (confusions[pair] ?? 0) + 1;
  }
  return { overall: figures(answers), languages: perLanguage, confusions };
}

export function heldOutLines(set: TestSet, language: Language): string[] {
  if (set === "everyday") {
    const file = new URL(`heldout/${language}.txt`, import.meta.url);
    return readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  }
  const folder = set === "final" ? "final/" : "";
  const root = new URL("../../../kernels/train/heldout/", import.meta.url);
  if (!existsSync(new URL(`${folder}${language}.txt`, root))) return [];
  return readHeldOut(language, set).map(({ question }) => question);
}

/** Chinese, Japanese, Thai and Burmese put no spaces between words: ICU finds them. */
function wordCount(line: string): number {
  const segments = new Intl.Segmenter(undefined, { granularity: "word" }).segment(line);
  return [...segments].filter(({ isWordLike }) => isWordLike).length;
}

function isWrong({ asked, named }: Answer): boolean {
  return named !== null && named !== asked;
}

function figures(answers: readonly Answer[]): Figures {
  const named = answers.filter((answer) => answer.named !== null);
  const longer = answers.filter(({ isLonger }) => isLonger);
  return {
    lines: answers.length,
    right: percent(answers.filter(isRight).length, answers.length),
    named: percent(named.length, answers.length),
    wrongOfNamed: percent(named.filter(isWrong).length, named.length),
    rightOfLonger: percent(longer.filter(isRight).length, longer.length),
  };
}

function isRight({ asked, named }: Answer): boolean {
  return asked === named;
}

function percent(part: number, whole: number): number {
  return whole === 0 ? 100 : Number(((100 * part) / whole).toFixed(2));
}
