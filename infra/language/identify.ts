/**
 * Which of our 23 languages is a chat message in? Script first; Latin letters by naive Bayes over
 * character n-grams (`profiles.tsv`, made by train.ts, read once when this module is loaded). Pure,
 * synchronous, never throws; `language: null` when the text says too little, nothing at all, or
 * reads like none of ours. How often it is right: README.md and accuracy.json.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  buildProfiles,
  latinLanguages,
  parseCounts,
  type Language,
  type Profiles,
} from "#infra/language/profiles.ts";
import { scriptVerdict } from "#infra/language/scripts.ts";
import {
  features,
  gramLengthMax,
  latinWords,
  trigrams,
  withoutMarkup,
} from "#infra/language/words.ts";

export interface Identification {
  readonly language: Language | null;
  /** 0…1, of the likeliest language even where that is not enough to name it. */
  readonly confidence: number;
}

/**
 * Least confidence to name a language. On `kernels/train/heldout/*.txt` nothing named from 0.7 up is
 * wrong; the margin is for text we have not seen, where ≤ 1 % may be.
 */
export const confidenceMin = 0.75;
/** "no", "si", "ja" belong to half of Europe. */
const lettersMin = 4;
/** With fewer of its trigrams known to the winner, a text is gibberish or in a language not ours. */
const knownShareMin = 0.45;
/** Every letter is counted once by each n-gram length and once in its word: not so many proofs. */
const evidenceRepeats = gramLengthMax + 1;

const unknown: Identification = { language: null, confidence: 0 };
const profiles: Profiles = buildProfiles(
  parseCounts(readFileSync(join(import.meta.dirname, "profiles.tsv"), "utf8")),
);

export function identifyLanguage(text: string): Identification {
  const plain = withoutMarkup(text);
  const verdict = scriptVerdict(plain);
  switch (verdict.kind) {
    case "none":
      return unknown;
    case "latin":
      return identifyLatin(plain);
    case "language":
      return named(verdict.language, verdict.confidence);
  }
}

function identifyLatin(plain: string): Identification {
  const words = latinWords(plain);
  if (words.join("").length < lettersMin) return unknown;
  const scores = score(words.flatMap(features));
  const top = Math.max(...scores);
  const best = scores.indexOf(top);
  const language = latinLanguages[best];
  if (language === undefined || knownShare(words, best) < knownShareMin) return unknown;
  return named(language, 1 / scores.reduce((sum, one) => sum + Math.exp(one - top), 0));
}

function named(language: Language, confidence: number): Identification {
  return { language: confidence >= confidenceMin ? language : null, confidence };
}

/** Log-likelihood of the features in each of `latinLanguages`; one seen in none says nothing. */
function score(found: readonly string[]): number[] {
  const { rows, logProbability } = profiles;
  const scores = latinLanguages.map(() => 0);
  for (const feature of found) {
    const row = rows.get(feature);
    if (row === undefined) continue;
    const start = row * scores.length;
    for (let place = 0; place < scores.length; place++) {
      scores[place]! += logProbability[start + place]! / evidenceRepeats;
    }
  }
  return scores;
}

function knownShare(words: readonly string[], place: number): number {
  const { rows, logProbability, unseen } = profiles;
  const grams = words.flatMap(trigrams);
  const known = grams.filter((gram) => {
    const row = rows.get(gram);
    return row !== undefined && logProbability[row * latinLanguages.length + place]! > unseen;
  });
  return known.length / grams.length;
}
