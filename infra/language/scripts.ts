/**
 * The first question about a text: in which script is it? Most of our scripts belong to one of our
 * languages, which settles it; Latin is left to the profiles. A few letters that only a foreign
 * language writes (Ukrainian ї, Persian ی …) make it nobody's rather than wrong.
 */
import type { Language } from "#infra/language/profiles.ts";

export type ScriptVerdict =
  | { readonly kind: "language"; readonly language: Language; readonly confidence: number }
  | { readonly kind: "latin" }
  | { readonly kind: "none" };

interface Script {
  readonly language: Language;
  readonly letters: RegExp;
  /** Below 1 by what else in the world is written so. */
  readonly confidence: number;
  /** Letters of the script that our language does not use. */
  readonly foreign?: RegExp;
}

const scripts: readonly Script[] = [
  { language: "th", letters: /\p{Script=Thai}/gu, confidence: 0.99 },
  { language: "my", letters: /\p{Script=Myanmar}/gu, confidence: 0.99 },
  { language: "ta", letters: /\p{Script=Tamil}/gu, confidence: 0.99 },
  { language: "te", letters: /\p{Script=Telugu}/gu, confidence: 0.99 },
  { language: "hi", letters: /\p{Script=Devanagari}/gu, confidence: 0.95, foreign: /ळ/u },
  { language: "ar", letters: /\p{Script=Arabic}/gu, confidence: 0.95, foreign: /[ژکیےٹڈہھ]/u },
  {
    language: "ru",
    letters: /\p{Script=Cyrillic}/gu,
    confidence: 0.95,
    foreign: /[^\P{Script=Cyrillic}а-яё]/iu,
  },
];
const kana = /[\p{Script=Hiragana}\p{Script=Katakana}ー]/gu;
const han = /\p{Script=Han}/gu;
/** Everyday Chinese that Japanese does not write: pronouns, particles, simplified forms. */
const chinese = /[你您妳吗嗎呢吧么麼们們这這谁誰没哪谢说话讲还过给对为让问时]/u;
/** Foreign names and computer words stay Latin in any script: a quarter of the letters decides. */
const shareMin = 0.25;

export function scriptVerdict(text: string): ScriptVerdict {
  const letters = count(text, /\p{L}|\p{M}/gu);
  if (letters === 0) return { kind: "none" };
  const kanaCount = count(text, kana);
  const hanCount = count(text, han);
  const east = (kanaCount + hanCount) / letters;
  if (east >= shareMin && kanaCount > 0) {
    return { kind: "language", language: "ja", confidence: 0.99 };
  }
  if (east >= shareMin) {
    return { kind: "language", language: "zh", confidence: chineseConfidence(text, hanCount) };
  }
  for (const { language, letters: own, confidence, foreign } of scripts) {
    if (count(text, own) / letters < shareMin) continue;
    if (foreign?.test(text) === true) return { kind: "none" };
    return { kind: "language", language, confidence };
  }
  const latin = count(text, /\p{Script=Latin}/gu) / letters;
  return latin > 0.5 ? { kind: "latin" } : { kind: "none" };
}

/** Japanese can do without kana for a word or two (了解, 東京大学), seldom for a whole sentence. */
function chineseConfidence(text: string, hanCount: number): number {
  if (chinese.test(text)) return 0.99;
  return Math.min(0.98, 1 - 2 ** -(1 + hanCount / 2));
}

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}
