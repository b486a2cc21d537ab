import { describe, expect, test } from "vitest";
import { languages, readHeldOut, readIntents } from "#test/eaglet/corpus.ts";

const unseparated = new Set(["ja", "my", "th", "zh"]);

/** Runs of six words, or of eight characters where words are not separated. */
function runs(text: string, language: string): Set<string> {
  const plain = text.toLowerCase().replace(/[^\p{L}\p{N}\p{M}/ ]/gu, "");
  const [units, length, glue] = unseparated.has(language)
    ? [Array.from(plain.replaceAll(" ", "")), 8, ""]
    : [plain.split(" "), 6, " "];
  const found = new Set<string>();
  for (let start = 0; start + length <= units.length; start++) {
    found.add(units.slice(start, start + length).join(glue));
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
    const seen = new Set<string>();
    for (const { questions } of intents.values()) {
      for (const question of questions) for (const run of runs(question, language)) seen.add(run);
    }
    const shared = heldOut.flatMap(({ question }) =>
      [...runs(question, language)]
        .filter((run) => seen.has(run))
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
