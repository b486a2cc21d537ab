/** The scripted backend keeps the numeric contract's promises, and the oracle foretells it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { promptFor } from "#infra/turn/index.ts";
import type { Backend, SampleOptions } from "#kernels/backends/contract.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { openScripted } from "./backend.ts";
import { scriptedTokenizer, writeScriptedModel } from "./model.ts";
import { Oracle } from "./script.ts";

const directory = mkdtempSync(join(tmpdir(), "eyrie-scripted-"));
let backend: Backend;
let tokenizer: Tokenizer;

beforeAll(async () => {
  writeScriptedModel(directory);
  backend = await openScripted(directory, { slots: 3, threads: 1 });
  tokenizer = scriptedTokenizer();
});

afterAll(() => {
  backend.close();
  rmSync(directory, { recursive: true });
});

function draw(number: number): SampleOptions {
  const rules = { presencePenalty: 0, frequencyPenalty: 0, penaltyDecay: 1 };
  return { seed: "any", draw: number, temperature: 0, topP: 1, ...rules };
}

/** Feeds a message and draws until the blank line; as a worker does, the last token is fed too. */
async function converse(slot: number, message: string): Promise<string> {
  let tokens = tokenizer.encode(promptFor(message));
  let text = "";
  for (let number = 0; ; number++) {
    const [row] = await backend.step({
      rows: [{ slot, tokens, want: "none", sample: draw(number) }],
    });
    if (text.endsWith("\n\n") || row?.token === null || row?.token === undefined) break;
    tokens = [row.token];
    text += Buffer.from(tokenizer.decode(tokens)).toString();
  }
  return text.trim();
}

test("says what the oracle foretells, turn after turn", async () => {
  const oracle = new Oracle(tokenizer);
  backend.writeState(0, null);
  for (const message of ["Hello", "again [words=9]", "and again"]) {
    expect(await converse(0, message)).toBe(oracle.reply(message));
  }
});

test("a state carries all that was said to it, in any split and into any slot", async () => {
  const tokens = tokenizer.encode("The whole of what was said before");
  for (const slot of [0, 1]) backend.writeState(slot, null);
  await backend.step({ rows: [{ slot: 0, tokens, want: "none" }] });
  for (const token of tokens) {
    await backend.step({ rows: [{ slot: 1, tokens: [token], want: "none" }] });
  }
  expect(backend.readState(1)).toEqual(backend.readState(0));
  backend.writeState(2, backend.readState(0));
  expect(await converse(2, "go on")).toBe(await converse(0, "go on"));
});

test("a reply that another began goes on where it was", async () => {
  for (const slot of [0, 1]) backend.writeState(slot, null);
  const whole = await converse(0, "Hello [words=9]");
  const prompt = tokenizer.encode(promptFor("Hello [words=9]"));
  const begun = tokenizer.encode(` ${whole}`).slice(0, 5);
  const sample = { ...draw(begun.length), earlier: begun };
  const rows = [{ slot: 1, tokens: [...prompt, ...begun], want: "none" as const, sample }];
  const [next] = await backend.step({ rows });
  const text = Buffer.from(tokenizer.decode([...begun, next?.token ?? 0])).toString();
  expect(` ${whole}`.startsWith(text)).toBe(true);
  expect(text.length).toBeGreaterThan(tokenizer.decode(begun).length);
});

test("another history says something else, and an emptied slot nothing of it", async () => {
  for (const slot of [0, 1]) backend.writeState(slot, null);
  const first = await converse(0, "Hello");
  expect(await converse(0, "Hello")).not.toBe(first);
  backend.writeState(0, null);
  expect(await converse(0, "Hello")).toBe(first);
});

test("a row that is told so is not finite, its mate is", async () => {
  for (const slot of [0, 1]) backend.writeState(slot, null);
  const rows = ["fine", "[nan]"].map((message, slot) => ({
    slot,
    tokens: tokenizer.encode(promptFor(message)),
    want: "none" as const,
  }));
  await backend.step({ rows: rows.map((row) => ({ ...row, sample: draw(0) })) });
  const results = await backend.step({
    rows: rows.map(({ slot, want }) => ({ slot, want, tokens: [1], sample: draw(2) })),
  });
  expect(results.map(({ finite }) => finite)).toEqual([true, false]);
  expect(results[1]?.token).toBeNull();
});
