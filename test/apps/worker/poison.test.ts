/** A turn that kills every worker: it alone ends as failed, and what it was batched with is answered. */
import { resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Turn } from "#infra/turn/index.ts";
import { poison } from "#test/platform/poison.ts";
import { TestPlatform, type Process } from "#test/platform/platform.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

const preload = resolve(import.meta.dirname, "../../platform/poison.ts");
/** Replies long enough to be running when the worker dies. */
const hot = { temperature: 6, topP: 1, presencePenalty: 0, frequencyPenalty: 0, penaltyDecay: 1 };

const asked = (name: string, id: number): Turn =>
  aTurn(id, { conversation: aConversation(name), sampling: hot, maxTokens: 2_000 });

let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start();
});

afterAll(async () => {
  await platform.stop();
});

test("it is answered with an error after three deaths at most, its batch mates with their replies", async () => {
  const mates = [11, 12, 13, 14].map((id) => asked(`mate-${id}`, id));
  const culprit = { ...asked("culprit", 20), text: `please ${poison}` };
  const next = { ...asked("culprit", 21), maxTokens: 8 };
  const options = { NODE_OPTIONS: `--import ${preload}` };
  let worker: Process = await platform.worker(options);
  let deaths = 0;
  for (const turn of [...mates, culprit, next]) await platform.say(turn);
  const waiting = [...mates, next];
  const answered = async (): Promise<boolean> => {
    if (worker.ended) {
      deaths++;
      worker = await platform.worker(options);
    }
    const records = waiting.map(({ conversation, id: turn }) =>
      platform.ledger.reply(conversation, { turn, attempt: 0 }),
    );
    return (await Promise.all(records)).every((record) => record !== null);
  };
  await expect.poll(answered, { timeout: 150_000, interval: 50 }).toBe(true);

  expect(await platform.reply(culprit)).toMatchObject({ status: "failed", code: "TURN_FAILED" });
  // Two in company, one alone.
  expect(deaths).toBe(3);
  const undisturbed = await platform.worker();
  for (const [index, mate] of mates.entries()) {
    const record = await platform.reply(mate);
    const twin = { ...mate, conversation: aConversation(`twin-${index}`) };
    expect(record.status).toBe("committed");
    expect(record.text).toBe((await platform.exchange(twin)).text);
  }
  expect((await platform.reply(next)).status).toBe("committed");
  await Promise.all([undisturbed.end(), worker.end()]);
}, 240_000);
