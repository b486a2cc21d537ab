import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Reply } from "#apps/worker/turnloop/reply.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { greedy } from "../../infra/turns.ts";

const words = ["\n\n", "\n\nUser", "!\n\n", " Hello", " there", "é", "Assistant", "\n\n\n"];
const vocabulary = [
  undefined,
  ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  ...words.map((word) => new TextEncoder().encode(word)),
];
const tokenizer = new Tokenizer(vocabulary);
const id = (word: string): number => {
  const index = words.indexOf(word);
  return index >= 0 ? 257 + index : 1 + word.charCodeAt(0);
};

interface Run {
  readonly reply: Reply;
  /** Everything that was fed, replay included. */
  readonly fed: number[];
  /** Tokens fed when the state was to be settled. */
  readonly settledAt: number[];
}

/** Plays the batch: feeds chunks of `chunk` tokens and draws what `script` says. */
function play(
  script: readonly number[],
  options: { chunk?: number; replay?: number[][]; maxTokens?: number; stopAfter?: number } = {},
): Run {
  const { chunk = 256, replay = [], maxTokens = 100, stopAfter = Infinity } = options;
  const prompt = tokenizer.encode("User: hi\n\nAssistant:");
  const reply = new Reply({
    tokenizer,
    replay,
    prompt,
    seed: "1/0",
    sampling: greedy,
    maxTokens,
  });
  const fed: number[] = [];
  const settledAt: number[] = [];
  let draws = 0;
  if (stopAfter === 0) reply.stop("stopped");
  while (!reply.done) {
    const { tokens, sample, endsBlock } = reply.take(Math.min(chunk, reply.waiting));
    fed.push(...tokens);
    if (endsBlock) settledAt.push(fed.length);
    if (endsBlock) expect(sample).toBeUndefined();
    if (sample !== undefined) expect(sample.draw).toBe(draws);
    const drawn = sample === undefined ? null : (script[draws++] ?? 0);
    reply.accept(drawn);
    if (draws === stopAfter) reply.stop("stopped");
  }
  return { reply, fed, settledAt };
}

const logText = (run: Run): string => Buffer.from(tokenizer.decode(run.reply.logTokens)).toString();

describe("the end of a reply", () => {
  test.each([
    ["a blank-line token", [id(" Hello"), id("\n\n")], "Hello"],
    ["two newlines", [id(" Hello"), id("\n"), id("\n")], "Hello"],
    ["a blank line with a forged role behind it", [id(" Hello"), id("\n\nUser")], "Hello"],
    ["a token that ends the sentence too", [id(" Hello"), id("!\n\n")], "Hello!"],
    ["three newlines at once", [id(" Hello"), id("\n\n\n")], "Hello"],
    ["a newline, then a blank line", [id(" Hello"), id("\n"), id("\n\n")], "Hello"],
    ["end of text", [id(" Hello"), 0], "Hello"],
    ["end of text after a newline", [id(" Hello"), id("\n"), 0], "Hello"],
    ["nothing at all", [id("\n\n")], ""],
  ])("%s", (_, script, text) => {
    const run = play(script);
    expect(run.reply.end).toBe("stop");
    expect(run.reply.text).toBe(text);
    expect(logText(run)).toMatch(/Assistant:[^\n]*\n\n$/);
    expect(run.fed).toEqual(run.reply.logTokens);
  });

  test("at the token limit the last word counts", () => {
    const run = play([id(" Hello"), id(" there"), id(" Hello")], { maxTokens: 2 });
    expect(run.reply).toMatchObject({ end: "length", text: "Hello there", replyTokens: 2 });
    expect(logText(run)).toBe("User: hi\n\nAssistant: Hello there\n\n");
  });

  test("stopped, it keeps what it has said", () => {
    const run = play([id(" Hello"), id(" there"), id(" Hello")], { stopAfter: 2 });
    expect(run.reply).toMatchObject({ end: "stopped", text: "Hello there" });
    expect(logText(run)).toBe("User: hi\n\nAssistant: Hello there\n\n");
  });

  test("stopped before its first word, nothing of the turn is kept", () => {
    const run = play([id(" Hello")], { stopAfter: 0 });
    expect(run.reply).toMatchObject({ end: "stopped", text: "" });
    expect(run.reply.logTokens).toEqual([]);
  });

  test("stopped while a step runs, the token on its way is not used", () => {
    const reply = play([]).reply;
    expect(reply.done).toBe(true);
    const running = new Reply({
      tokenizer,
      replay: [],
      prompt: [5],
      seed: "",
      sampling: greedy,
      maxTokens: 9,
    });
    running.take(1);
    running.accept(id(" Hello"));
    running.take(1);
    running.stop("stopped");
    running.accept(id(" there"));
    running.take(running.waiting);
    running.accept(null);
    expect(running).toMatchObject({ done: true, text: "Hello", replyTokens: 1 });
  });
});

test("a character cut between tokens is held back, not shown broken", () => {
  const [first = 0, second = 0] = new TextEncoder().encode("ü");
  const { reply } = play([1 + first, 1 + second, id("\n\n")]);
  expect(reply.text).toBe("ü");
  const cut = play([id(" Hello"), 1 + first, 0]);
  expect(cut.reply.text).toBe("Hello\ufffd");
});

test("replayed tokens are fed but not logged again", () => {
  const replay = [[9, 9, 9], [], [8], [7, 7]];
  const run = play([id(" Hello"), id("\n\n")], { replay, chunk: 2 });
  expect(run.fed.slice(0, 6)).toEqual([9, 9, 9, 8, 7, 7]);
  expect(run.fed.slice(6)).toEqual(run.reply.logTokens);
  expect(run.reply.replayedTokens).toBe(6);
  expect(run.settledAt).toEqual([3, 4, 6, run.fed.length]);
});

test("whatever is drawn, in whatever chunks: the log is what was fed and ends in one blank line", () => {
  const token = fc.oneof(fc.constantFrom(...words.map(id), 0), fc.integer({ min: 1, max: 256 }));
  fc.assert(
    fc.property(
      fc.array(token, { maxLength: 30 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 20 }),
      (script, chunk, maxTokens) => {
        const run = play(script, { chunk, maxTokens });
        expect(run.fed).toEqual(run.reply.logTokens);
        expect(run.settledAt).toEqual([run.fed.length]);
        const said = Buffer.from(tokenizer.decode(run.reply.logTokens));
        const afterPrompt = said.subarray("User: hi\n\nAssistant:".length).toString("latin1");
        expect(afterPrompt.indexOf("\n\n")).toBe(afterPrompt.length - 2);
        expect(run.reply.text).not.toContain("\n\n");
      },
    ),
  );
});
