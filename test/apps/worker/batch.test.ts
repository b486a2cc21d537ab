/** The batch on the real engine: what a step holds while prompts and streams share it. */
import { resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Engine } from "#apps/worker/engine/engine.ts";
import { Batch, type StepReport } from "#apps/worker/turnloop/batch.ts";
import { openWorkerModel } from "#apps/worker/model.ts";
import { Reply } from "#apps/worker/turnloop/reply.ts";
import { prefillTokensMax } from "#apps/worker/scheduler/scheduler.ts";
import { packSnapshot, unpackSnapshot } from "#kernels/state/snapshot.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

const modelDirectory = resolve(import.meta.dirname, "../../../kernels/models/eaglet");
/** So hot that a reply never ends by itself. */
const endless = {
  temperature: 5,
  topP: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  penaltyDecay: 1,
};
let engine: Engine;
let tokenizer: Tokenizer;
let steps: StepReport[];
let batch: Batch;

beforeAll(async () => {
  const limits = { slots: 8, threads: 1 };
  engine = await Engine.open({ modelDirectory, backend: "onnx", stateCodec: "int8", ...limits });
  ({ tokenizer } = await openWorkerModel(modelDirectory));
  steps = [];
  batch = new Batch(engine, (report) => steps.push(report));
});

afterAll(async () => {
  await engine.close();
});

function reply(prompt: string, maxTokens: number): Reply {
  const options = { tokenizer, replay: [], prompt: tokenizer.encode(prompt), sampling: endless };
  return new Reply({ ...options, seed: prompt, maxTokens });
}

test("a 2,000-token message never keeps a stream from its token", async () => {
  const streams = [0, 1, 2].map((slot) => {
    const stream = reply(`User: stream ${slot}\n\nAssistant:`, 400);
    return { stream, row: batch.run(slot, stream, () => {}) };
  });
  const begun = (): boolean => streams.every(({ stream }) => stream.replyTokens > 2);
  await expect.poll(begun, { timeout: 20_000 }).toBe(true);
  steps.length = 0;
  const long = reply(`User: ${"word ".repeat(3000)}\n\nAssistant:`, 2);
  const promptTokens = long.waiting;
  expect(promptTokens).toBeGreaterThan(2000);
  let drawnMeanwhile = 0;
  const before = streams.map(({ stream }) => stream.replyTokens);
  const arrived = batch.run(3, long, () => {
    drawnMeanwhile = streams.reduce(
      (sum, { stream }, index) => sum + stream.replyTokens - (before[index] ?? 0),
      0,
    );
  });
  await arrived.outcome;
  const mixed = steps.filter(
    ({ prefillTokens, decodeTokens }) => prefillTokens > 0 && decodeTokens > 0,
  );
  expect(mixed.length).toBeGreaterThan(4);
  for (const { prefillTokens, rows, decodeTokens } of mixed) {
    expect(prefillTokens).toBeLessThanOrEqual(prefillTokensMax);
    // All rows but the prompt's own drew a token (or fed the two tokens that close a reply).
    expect(decodeTokens).toBeGreaterThanOrEqual(rows - 1);
  }
  expect(drawnMeanwhile).toBeGreaterThan(mixed.length);
  for (const { row } of streams) row.cancel();
  for (const { row } of streams) await row.outcome;
});

test("a row that is cancelled leaves, the others go on", async () => {
  const first = reply("User: a\n\nAssistant:", 5000);
  const second = reply("User: b\n\nAssistant:", 40);
  const cancelled = batch.run(0, first, () => {});
  const running = batch.run(1, second, () => {});
  cancelled.cancel();
  expect((await cancelled.outcome).end).toBe("cancelled");
  expect((await running.outcome).end).toBe("done");
  expect(batch.running).toBe(0);
});

test("a poisoned state ends its own row by name and nobody else's", async () => {
  const healthy = async (): Promise<string> => {
    const alone = reply("User: healthy\n\nAssistant:", 12);
    await engine.writeState(1, null);
    await batch.run(1, alone, () => {}).outcome;
    return alone.text;
  };
  const unpoisoned = await healthy();
  const poisoned = (await engine.readState(0)).fill(Number.NaN);
  await engine.writeState(0, poisoned);
  const sick = batch.run(0, reply("User: sick\n\nAssistant:", 12), () => {});
  expect(await healthy()).toBe(unpoisoned);
  expect((await sick.outcome).end).toBe("not-finite");
});

test("at the end of a block a state is what a snapshot would keep of it", async () => {
  const { config, stateCodec: codec } = engine.info;
  const blocks = ["User: one\n\nAssistant: 1\n\n", "User: two\n\nAssistant: 2\n\n"];
  const replay = blocks.map((block) => tokenizer.encode(block));
  const afterTwo = async (slot: number): Promise<Float32Array> => {
    const whole = new Reply({ ...options, replay, prompt: tokenizer.encode("User: three") });
    await engine.writeState(slot, null);
    const row = batch.run(slot, whole, () => row.cancel());
    await row.outcome;
    return engine.readState(slot);
  };
  const options = { tokenizer, sampling: endless, seed: "", maxTokens: 9 };

  // By hand: each block fed alone, packed and unpacked.
  await engine.writeState(1, null);
  const header = { fingerprint: "x", numericClass: "y", tokenPosition: 0, tokenLogChecksum: 0 };
  for (const tokens of replay) {
    await engine.step({ rows: [{ slot: 1, tokens, want: "none" }] });
    const raw = await engine.readState(1);
    const packed = packSnapshot(raw, header, { codec, headSize: config.headSize });
    const expected = { fingerprint: "x", stateLength: raw.length, headSize: config.headSize };
    const unpacked = unpackSnapshot(packed, expected);
    if (unpacked.kind !== "snapshot") return expect.fail(unpacked.reason);
    expect(unpacked.state).not.toEqual(raw);
    await engine.writeState(1, unpacked.state);
  }
  const prompt = tokenizer.encode("User: three");
  await engine.step({ rows: [{ slot: 1, tokens: prompt, want: "none" }] });
  expect(await afterTwo(0)).toEqual(await engine.readState(1));
});

test("a state that is not finite at the end of its block ends its row by name", async () => {
  const poisoned = await engine.readState(2);
  // A replayed block asks for no logits that could show it.
  const replay = [tokenizer.encode("User: a\n\n")];
  const prompt = tokenizer.encode("User: b\n\nAssistant:");
  const options = { tokenizer, replay, prompt, seed: "", maxTokens: 4, sampling: endless };
  await engine.writeState(2, poisoned.fill(Number.NaN));
  expect((await batch.run(2, new Reply(options), () => {}).outcome).end).toBe("not-finite");
});
