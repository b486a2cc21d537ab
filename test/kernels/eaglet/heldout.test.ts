import { describe, expect, test } from "vitest";
import { languages, readHeldOut, readIntents } from "#test/eaglet/corpus.ts";

/**
 * Eight characters are a phrase in Chinese and Japanese, but hardly a word in Thai and Burmese (หรือเปล่า,
 * a question's "or not", has nine): those are cut into words by ICU and take six, like the rest.
 */
const characterRuns = new Set(["ja", "zh"]);
const segmenters = new Map(
  ["my", "th"].map((code) => [code, new Intl.Segmenter(code, { granularity: "word" })]),
);

const spaceless = new Set([...characterRuns, ...segmenters.keys()]);

function plain(text: string, language: string): string {
  const words = text.toLowerCase().replace(/[^\p{L}\p{N}\p{M}/ ]/gu, "");
  return spaceless.has(language) ? words.replaceAll(" ", "") : ` ${words} `;
}

/** Runs of six words, or of eight characters in Chinese and Japanese. */
function runs(text: string, language: string): string[] {
  const whole = plain(text, language);
  const segmenter = segmenters.get(language);
  const units =
    segmenter !== undefined
      ? Array.from(segmenter.segment(whole), ({ segment }) => segment)
      : characterRuns.has(language)
        ? Array.from(whole)
        : whole.trim().split(" ");
  const length = characterRuns.has(language) ? 8 : 6;
  const found: string[] = [];
  for (let start = 0; start + length <= units.length; start++) {
    const run = units.slice(start, start + length);
    found.push(spaceless.has(language) ? run.join("") : ` ${run.join(" ")} `);
  }
  return found;
}

function letters(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{N}\p{M}]/gu, "");
}

const exams = languages().flatMap((language) => [
  [language, "working"] as const,
  [language, "final"] as const,
]);

describe.each(exams)("held-out questions in %s, %s exam", (language, exam) => {
  const intents = readIntents(language);
  const heldOut = readHeldOut(language, exam);

  test("share no long run of words with any training question", () => {
    const seen = [...intents.values()]
      .flatMap(({ questions }) => questions.map((question) => plain(question, language)))
      .join("\n");
    const shared = heldOut.flatMap(({ question }) =>
      runs(question, language)
        .filter((run) => seen.includes(run))
        .map((run) => ({ question, run })),
    );
    expect(shared).toEqual([]);
    expect(heldOut.length).toBeGreaterThanOrEqual(20);
  });

  test("are no training question word for word", () => {
    const seen = new Set([...intents.values()].flatMap(({ questions }) => questions.map(letters)));
    expect(heldOut.filter(({ question }) => seen.has(letters(question)))).toEqual([]);
  });

  test("expect intents that exist", () => {
    expect(heldOut.filter(({ intent }) => !intents.has(intent))).toEqual([]);
  });
});

describe("training dialogues", () => {
  const all = new Map(languages().map((language) => [language, readIntents(language)]));

  test("every language has the same intents", () => {
    const english = new Set(all.get("en")?.keys());
    for (const intents of all.values()) expect(new Set(intents.keys())).toEqual(english);
  });

  test("every intent has twelve questions, unknown thirty; memory games have six", () => {
    for (const [language, intents] of all) {
      for (const [name, { questions }] of intents) {
        const least = name === "unknown" ? 30 : /[.]|echo/.test(name) ? 6 : 12;
        expect(new Set(questions).size, `${language} ${name}`).toBeGreaterThanOrEqual(least);
      }
    }
  });
});
