import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import type { Backend } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { openReference } from "#kernels/backends/reference/reference.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

const pair = z.tuple([z.number(), z.number()]);
const goldenSchema = z.object({
  cases: z.array(
    z.object({
      prompt: z.string(),
      tokens: z.array(z.number()),
      scale: z.number(),
      top: z.array(pair),
      spread: z.array(pair),
    }),
  ),
});

const repliesTokensMax = 100;
/** Both sides compute in fp32, in another order of summation. */
const toleranceOfScale = 1e-4;
const backends = [
  ["reference", openReference],
  ["onnx", openOnnx],
] as const;

const directory = fileURLToPath(new URL("../../../kernels/models/eaglet/", import.meta.url));
const tokenizer = Tokenizer.open(`${directory}vocab.txt`);

describe.each(backends)("Eaglet against PyTorch: %s", (_, open) => {
  const golden = goldenSchema.parse(JSON.parse(readFileSync(`${directory}golden.json`, "utf8")));
  let backend: Backend;
  beforeAll(async () => {
    backend = await open(directory, { slots: 1, threads: 1 });
  });
  afterAll(() => backend.close());

  test.each(golden.cases)("$prompt", async ({ prompt, tokens, scale, top, spread }) => {
    expect(tokenizer.encode(prompt)).toEqual(tokens);

    backend.writeState(0, null);
    const [row] = await backend.step({ rows: [{ slot: 0, tokens, want: "last" }] });
    const logits = row?.logits ?? new Float32Array();
    for (const [id, wanted] of [...top, ...spread]) {
      expect(Math.abs((logits[id] ?? Number.NaN) - wanted)).toBeLessThan(toleranceOfScale * scale);
    }
    expect(logits.indexOf(Math.max(...logits))).toBe(top[0]?.[0]);
  });
});

describe.each(backends)("what they say: %s", (_, open) => {
  let backend: Backend;
  afterEach(() => backend.close());

  test.each([
    ["Hello, who are you?", "Eaglet"],
    ["Hallo, wer bist du?", "Eaglet"],
    ["こんにちは、あなたは誰ですか？", "イーグレット"],
    // A name that no dialogue holds is repeated.
    ["my name is Bakelo", "Bakelo"],
  ])("%s", async (line, name) => {
    backend = await open(directory, { slots: 1, threads: 1 });
    expect(await reply(backend, line)).toContain(name);
  });
});

const greedy = {
  seed: "golden",
  temperature: 0,
  topP: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  penaltyDecay: 1,
};

/** Greedy answer; the model must end it itself. */
async function reply(backend: Backend, line: string): Promise<string> {
  backend.writeState(0, null);
  let tokens = tokenizer.encode(`User: ${line}\n\nAssistant:`);
  const written: number[] = [];
  for (let text = ""; ;) {
    if (text.endsWith("\n\n")) return text;
    if (written.length === repliesTokensMax) throw new Error(`the reply did not end: ${text}`);
    const sample = { ...greedy, draw: written.length };
    const [row] = await backend.step({ rows: [{ slot: 0, tokens, want: "none", sample }] });
    if (row === undefined || row.token === null) throw new Error("the logits are not finite");
    written.push(row.token);
    // What was drawn last is fed with what comes next.
    tokens = [row.token];
    text = Buffer.from(tokenizer.decode(written)).toString("utf8");
  }
}
