import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { contentOf, messageCharactersMax, splitReply } from "#apps/gateway/render/split.ts";

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Markdown as models write it, and as nobody should. */
const piece = fc.oneof(
  { weight: 6, arbitrary: fc.lorem({ maxCount: 12 }) },
  { weight: 3, arbitrary: fc.constantFrom("\n", "\n\n", " ", ". ", "\n- ", "\n1. ", "\n> ") },
  {
    weight: 3,
    arbitrary: fc.constantFrom("```\n", "```js\n", "\n```\n", "```", "````", "``", "`", "` `"),
  },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 30 }) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 10 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "👩‍👩‍👧‍👦",
      "🇩🇪🇯🇵",
      "e\u0301\u0302",
      "日本語の文。",
      "x".repeat(90),
      " ".repeat(80),
    ),
  },
  { weight: 1, arbitrary: fc.constant(`\`\`\`${"info".repeat(20)}\n`) },
);
const markdown = fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join(""));
const limit = fc.integer({ min: 64, max: 400 });

describe("every part", () => {
  test("fits, is balanced, and the source is whole", () => {
    fc.assert(
      fc.property(markdown, limit, (text, max) => {
        const parts = splitReply(text, max);
        for (const part of parts) {
          const content = contentOf(part);
          expect(Array.from(content).length).toBeLessThanOrEqual(max);
          expect((content.match(/```/g)?.length ?? 0) % 2).toBe(0);
          expect(part.opening).toMatch(/^(?:```[\w+\-.#]{0,20}\n)?$/);
          expect(part.closing).toMatch(/^(?:\n?```)?$/);
        }
        expect(parts.map((part) => part.text).join("")).toBe(text);
      }),
      { numRuns: 500 },
    );
  });

  test("ends on a whole grapheme", () => {
    const plain = fc
      .array(fc.constantFrom("👩‍👩‍👧‍👦", "🇩🇪", "e\u0301", "ä", "字", "x", " "), { maxLength: 300 })
      .map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(plain, limit, (text, max) => {
        const whole = new Set([...graphemes.segment(text)].map((segment) => segment.index));
        let at = 0;
        for (const part of splitReply(text, max)) {
          expect(whole.has(at)).toBe(true);
          at += part.text.length;
        }
      }),
      { numRuns: 200 },
    );
  });

  test("shows no empty fence that the source does not have", () => {
    const code = fc.array(fc.stringMatching(/^[a-z ]{1,40}$/), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(fc.lorem({ maxCount: 20 }), code, limit, (words, lines, max) => {
        const body = lines.map((line) => `${line}x`).join("\n");
        const text = `${words}\n\`\`\`js\n${body}\n\`\`\`\nend`;
        for (const part of splitReply(text, max)) {
          expect(contentOf(part)).not.toMatch(/```(?:js)?\s*```/);
        }
      }),
      { numRuns: 200 },
    );
  });
});

function cuts(text: string, max: number): string[] {
  return splitReply(text, max).map(contentOf);
}

describe("where a reply is cut", () => {
  test("a short reply is one part, untouched", () => {
    expect(cuts("Hello *you*", 100)).toEqual(["Hello *you*"]);
    expect(splitReply("")).toEqual([]);
  });

  test("after a line rather than inside it", () => {
    const lines = Array.from("abcdef").map((letter) => letter.repeat(30));
    expect(cuts(lines.join("\n"), 64)).toEqual([
      `${lines[0]}\n${lines[1]}\n`,
      `${lines[2]}\n${lines[3]}\n`,
      `${lines[4]}\n${lines[5]}`,
    ]);
  });

  test("after a sentence rather than inside it, after a word where there is none", () => {
    const first = `${"word ".repeat(9)}end. `;
    expect(cuts(`${first}${"More ".repeat(10)}`, 64)[0]).toBe(first);
    expect(cuts("word ".repeat(20), 64)[0]).toBe("word ".repeat(12));
  });

  test("a fence is closed and opened again with its language", () => {
    const code = Array.from({ length: 8 }, (_, index) => `let a${index} = ${index};`).join("\n");
    const parts = cuts(`\`\`\`ts\n${code}\n\`\`\``, 64);
    expect(parts.length).toBeGreaterThan(1);
    for (const part of parts) expect(part).toMatch(/^```ts\n[^`]+\n```$/);
  });

  test("a long info string is not repeated", () => {
    const parts = cuts(`\`\`\`${"i".repeat(30)}\n${"code line\n".repeat(20)}\`\`\``, 80);
    expect(parts[1]).toMatch(/^```\ncode/);
  });

  test("an unclosed fence is closed at the end", () => {
    expect(cuts("```js\nlet a", 100)).toEqual(["```js\nlet a\n```"]);
  });

  test("characters outside the basic plane count once, as Discord counts", () => {
    expect(cuts("😀".repeat(messageCharactersMax), messageCharactersMax)).toHaveLength(1);
    expect(cuts("😀".repeat(messageCharactersMax + 1), messageCharactersMax)).toHaveLength(2);
  });
});
