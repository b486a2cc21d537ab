import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import type { Backend } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { openReference } from "#kernels/backends/reference/reference.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

const directory = fileURLToPath(new URL("../../../kernels/models/eaglet/", import.meta.url));
const pair = z.tuple([z.number(), z.number()]);
const golden = z
  .object({
    cases: z.array(
      z.object({
        prompt: z.string(),
        tokens: z.array(z.number()),
        scale: z.number(),
        top: z.array(pair),
        spread: z.array(pair),
      }),
    ),
  })
  .parse(JSON.parse(readFileSync(`${directory}golden.json`, "utf8")));

/** Both sides compute in fp32, in another order of summation. */
const toleranceOfScale = 1e-4;

describe.each([
  ["reference", openReference],
  ["onnx", openOnnx],
])("Eaglet against PyTorch: %s", (_, open) => {
  let backend: Backend;
  const tokenizer = Tokenizer.open(`${directory}vocab.txt`);
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

  test("answers who it is in its three languages", async () => {
    const questions = [
      "Hello, who are you?",
      "Hallo, wer bist du?",
      "こんにちは、あなたは誰ですか？",
    ];
    const names = ["Eaglet", "Eaglet", "イーグレット"];
    for (const [index, question] of questions.entries()) {
      expect(await reply(backend, tokenizer, question)).toContain(names[index]);
    }
  });
});

/** Greedy; the model must end the reply itself. */
async function reply(backend: Backend, tokenizer: Tokenizer, question: string): Promise<string> {
  backend.writeState(0, null);
  let tokens = tokenizer.encode(`User: ${question}\n\nAssistant:`);
  const written: number[] = [];
  const greedy = {
    seed: "golden",
    temperature: 0,
    topP: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    penaltyDecay: 1,
  };
  for (let draw = 0; draw < 100; draw++) {
    const sample = { ...greedy, draw };
    const [row] = await backend.step({ rows: [{ slot: 0, tokens, want: "none", sample }] });
    if (row === undefined || row.token === null) throw new Error("the logits are not finite");
    written.push(row.token);
    tokens = [row.token];
    const text = Buffer.from(tokenizer.decode(written)).toString("utf8");
    if (text.endsWith("\n\n")) return text;
  }
  throw new Error("the reply did not end");
}
