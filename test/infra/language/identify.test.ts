import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { confidenceMin, identifyLanguage } from "#infra/language/identify.ts";
import {
  countFeatures,
  formatCounts,
  languages,
  latinLanguages,
  parseCounts,
  trainingText,
} from "#infra/language/profiles.ts";
import { heldOutLines, measure, sets } from "#test/infra/language/measure.ts";

const profilesFile = new URL("../../../infra/language/profiles.tsv", import.meta.url);

/** What was measured (infra/language/README.md) less a small margin, in percent. */
const floors = {
  everyday: { right: 98.5, language: 92, wrongOfNamed: 1 },
  working: { right: 98.5, language: 95, wrongOfNamed: 1 },
  final: { right: 97.5, language: 92, wrongOfNamed: 1 },
};

describe.each(sets)("on held-out text, %s", (set) => {
  const measured = measure(set);
  const floor = floors[set];

  test("is right often enough overall, and wrong where it is sure at most one time in a hundred", () => {
    expect(measured.overall.right).toBeGreaterThanOrEqual(floor.right);
    expect(measured.overall.rightOfLonger).toBeGreaterThanOrEqual(98);
    expect(measured.overall.wrongOfNamed).toBeLessThanOrEqual(floor.wrongOfNamed);
  });

  test("is right often enough in every language", () => {
    const low = Object.entries(measured.languages).filter(
      ([, { right, rightOfLonger }]) => right < floor.language || rightOfLonger < 95,
    );
    expect(low).toEqual([]);
  });
});

test("everyday lines exist for all 23 languages and none is trained on", () => {
  const trained = new Set(latinLanguages.flatMap(trainingText).map(normal));
  for (const language of languages) {
    const lines = heldOutLines("everyday", language);
    expect(lines.length).toBeGreaterThanOrEqual(25);
    expect(lines.filter((line) => trained.has(normal(line)))).toEqual([]);
  }
});

describe("profiles.tsv", () => {
  const committed = readFileSync(profilesFile, "utf8");

  test("is what train.ts makes of the text, byte for byte", () => {
    expect(formatCounts(countFeatures(trainingText)) === committed).toBe(true);
  });

  test("survives reading and writing, and stays small", () => {
    expect(formatCounts(parseCounts(committed)) === committed).toBe(true);
    expect(committed.length).toBeLessThan(1_500_000);
  });

  test("a broken line is refused", () => {
    expect(() => parseCounts("_de\t??\n")).toThrow("bad profile");
  });
});

describe("scripts", () => {
  test.each([
    ["สวัสดีครับ", "th"],
    ["ဟုတ်ကဲ့", "my"],
    ["வணக்கம்", "ta"],
    ["నమస్తే", "te"],
    ["नमस्ते", "hi"],
    ["مرحبا", "ar"],
    ["привет", "ru"],
    ["ありがとう", "ja"],
    ["Discordのボットって何", "ja"],
    ["你好", "zh"],
    ["用Python写个bot", "zh"],
    ["слэш command help что это", "ru"],
    ["what does the character 愛 mean in english please", "en"],
  ])("%s → %s", (text, language) => {
    expect(identifyLanguage(text).language).toBe(language);
  });

  test.each(["чи є в тебе їжа", "سلام، حالت چطوره؟ کجایی", "Καλημέρα", "שלום"])(
    "%s is in none of our languages",
    (text) => {
      expect(identifyLanguage(text).language).toBeNull();
    },
  );
});

describe("nothing to go by", () => {
  test.each([
    "",
    "   ",
    "😀😀 🎉",
    "12345 67.8",
    "?!...",
    "/reset",
    "<@1234567890> <:party:987654321>",
    ":smile: :wave:",
    "https://example.com/this/is/an/english/path",
    "`const answer = await question()`",
    "ok",
    "no",
    "asdkjh qwe zzzt",
    "sdkfjhsdkjf",
  ])("%j → null", (text) => {
    expect(identifyLanguage(text).language).toBeNull();
  });

  test("a command or a mention inside does not hide the language", () => {
    expect(identifyLanguage("was macht eigentlich /reset genau?").language).toBe("de");
    expect(identifyLanguage("<@42> que haces esta tarde :smile:").language).toBe("es");
  });
});

test("any string gets an answer, named exactly when confident enough", () => {
  const anyText = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme" }),
    fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
  );
  fc.assert(
    fc.property(anyText, (text) => {
      const { language, confidence } = identifyLanguage(text);
      expect(confidence).toBeGreaterThanOrEqual(0);
      expect(confidence).toBeLessThanOrEqual(1);
      expect(language !== null).toBe(confidence >= confidenceMin);
      expect(identifyLanguage(text)).toEqual({ language, confidence });
    }),
    { numRuns: 2000 },
  );
});

test("numbers, symbols and emoji alone are never named", () => {
  const silent = fc.string({
    unit: fc.constantFrom(..."0 7 42 . , ! ? + ( # 😀 🎉 ❤️ 🇩🇪 👍🏽".split(/(?= )/)),
  });
  fc.assert(fc.property(silent, (text) => identifyLanguage(text).language === null));
});

function normal(line: string): string {
  return line.toLowerCase().replace(/[^\p{L}\p{M}]+/gu, " ");
}
