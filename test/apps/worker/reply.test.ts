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

describe("a reply that another worker began", () => {
  const script = [id(" Hello"), id("é"), id(" there"), id("\n"), id(" Hello"), id("!\n\n"), 0];
  const prompt = tokenizer.encode("User: hi\n\nAssistant:");
  const options = { tokenizer, replay: [], prompt, seed: "1/0", sampling: greedy, maxTokens: 5 };

  interface End {
    readonly text: string;
    readonly end: unknown;
    readonly log: readonly number[];
    readonly draws: readonly number[];
  }

  /** Feeds chunks until it is done, drawing what the script says for each number. */
  function finish(reply: Reply, chunk: number, stopAt = Infinity): End {
    const draws: number[] = [];
    while (!reply.done) {
      if (reply.replyTokens >= stopAt) reply.stop("stopped");
      if (reply.done) break;
      const { sample } = reply.take(Math.min(chunk, reply.waiting));
      if (sample !== undefined) draws.push(sample.draw);
      reply.accept(sample === undefined ? null : (script[sample.draw] ?? 0));
    }
    return { text: reply.text, end: reply.end, log: reply.logTokens, draws };
  }

  /** As it is when so many tokens have been drawn. */
  function begun(draws: number, maxTokens: number, chunk = 3): Reply {
    const reply = new Reply({ ...options, maxTokens });
    while (reply.replyTokens < draws && !reply.done) {
      const { sample } = reply.take(Math.min(chunk, reply.waiting));
      reply.accept(sample === undefined ? null : (script[sample.draw] ?? 0));
    }
    return reply;
  }

  test.each([5, 100])("says and logs what an unbroken one does, of %i tokens", (maxTokens) => {
    const unbroken = finish(new Reply({ ...options, maxTokens }), 3);
    for (let cut = 1; cut <= script.length; cut++) {
      const before = begun(cut, maxTokens);
      for (const replay of [[], [[1, 2, 3], [4]]]) {
        const drawn = [...before.drawn];
        const reply = new Reply({ ...options, maxTokens, replay, drawn });
        expect(reply.text).toBe(before.text);
        // What is fed again shares the room for prompts.
        expect(reply.decoding).toBe(false);
        const { draws, ...rest } = finish(reply, 4);
        expect(rest).toEqual({ text: unbroken.text, end: unbroken.end, log: unbroken.log });
        expect(draws).toEqual(unbroken.draws.slice(drawn.length));
      }
    }
  });

  test.each([5, 100])("with the state nothing is fed again, of %i tokens", (maxTokens) => {
    const unbroken = finish(new Reply({ ...options, maxTokens }), 3);
    for (let cut = 1; cut <= script.length; cut++) {
      const before = begun(cut, maxTokens);
      const { standsBehind } = before;
      const drawn = [...before.drawn];
      const { ahead } = new Reply({ ...options, maxTokens, drawn });
      // Who is about to end leaves what it has drawn.
      if (before.end !== null) expect(standsBehind).toBeNull();
      if (standsBehind === null) continue;
      expect(ahead).toEqual(standsBehind);
      const reply = new Reply({ ...options, maxTokens, drawn, takenUp: true });
      expect([reply.text, reply.decoding, reply.waiting]).toEqual([before.text, true, 1]);
      const { draws, ...rest } = finish(reply, 4);
      expect(rest).toEqual({ text: unbroken.text, end: unbroken.end, log: unbroken.log });
      expect(draws).toEqual(unbroken.draws.slice(drawn.length));
    }
    expect(begun(1, maxTokens).standsBehind).not.toBeNull();
  });

  test("while it catches up its state is nobody's to go on from", () => {
    expect(new Reply({ ...options, maxTokens: 100 }).standsBehind).toBeNull();
    const reply = new Reply({ ...options, maxTokens: 100, drawn: script.slice(0, 3) });
    reply.take(2);
    reply.accept(null);
    expect(reply.standsBehind).toBeNull();
  });

  test("tells the sampler once what was drawn before", () => {
    const reply = new Reply({ ...options, maxTokens: 100, drawn: script.slice(0, 2) });
    const { sample } = reply.take(reply.waiting);
    expect(sample).toMatchObject({ draw: 2, earlier: script.slice(0, 2) });
    reply.accept(script[2] ?? 0);
    expect(reply.take(1).sample).not.toHaveProperty("earlier");
  });

  test("stopped before it has caught up, it keeps what was seen", () => {
    const stopped = finish(new Reply({ ...options, maxTokens: 100 }), 3, 3);
    const reply = new Reply({ ...options, maxTokens: 100, drawn: script.slice(0, 3) });
    reply.take(2);
    reply.accept(null);
    reply.stop("stopped");
    expect(finish(reply, 2)).toEqual({ ...stopped, draws: [] });
  });
});
