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

function directoryOf(model: string): string {
  return fileURLToPath(new URL(`../../../kernels/models/${model}/`, import.meta.url));
}

const models = ["eaglet", "eaglet-23"].flatMap((model) =>
  backends.map(([name, open]) => ({ model, name, open })),
);

describe.each(models)("$model against PyTorch: $name", ({ model, open }) => {
  const directory = directoryOf(model);
  const golden = goldenSchema.parse(JSON.parse(readFileSync(`${directory}golden.json`, "utf8")));
  const tokenizer = Tokenizer.open(`${directory}vocab.txt`);
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

  async function converse(model: string, ...lines: string[]): Promise<string> {
    const directory = directoryOf(model);
    backend = await open(directory, { slots: 1, threads: 1 });
    return reply(backend, Tokenizer.open(`${directory}vocab.txt`), ...lines);
  }

  test.each([
    ["Hello, who are you?", "Eaglet"],
    ["Hallo, wer bist du?", "Eaglet"],
    ["こんにちは、あなたは誰ですか？", "イーグレット"],
  ])("Eaglet answers who it is: %s", async (question, name) => {
    expect(await converse("eaglet", question)).toContain(name);
  });

  test("Eaglet-23 repeats a name that no dialogue holds", async () => {
    expect(await converse("eaglet-23", "my name is Bakelo")).toContain("Bakelo");
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

/** Greedy answer to the last line of a conversation; the model must end every reply itself. */
async function reply(backend: Backend, tokenizer: Tokenizer, ...lines: string[]): Promise<string> {
  backend.writeState(0, null);
  let text = "";
  let tokens: number[] = [];
  for (const line of lines) {
    tokens.push(...tokenizer.encode(`User: ${line}\n\nAssistant:`));
    const written: number[] = [];
    for (text = ""; !text.endsWith("\n\n");) {
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
  return text;
}
