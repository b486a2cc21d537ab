/**
 * Workers that are asked to end in the middle of replies: what they have said so far stands, and the
 * next worker says the rest as if nothing had happened.
 */
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { LiveSubscriber } from "#infra/live/live.ts";
import { duplicateRedis } from "#infra/redis/client.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import type { ConversationId, LiveFrame, Turn } from "#infra/turn/index.ts";
import { TestPlatform, type Process } from "#test/platform/platform.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

// Every scene starts processes, each with a model to load.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

/** So hot that replies are long; with penalties, which a successor must remember too. */
const sampling = {
  temperature: 6,
  topP: 1,
  presencePenalty: 0.5,
  frequencyPenalty: 0.4,
  penaltyDecay: 0.99,
};
const maxTokens = 600;
const impatient = { EYRIE_DRAIN_SECONDS: "0" };
const streams = 3;

type TextFrame = LiveFrame & { kind: "text" };

let platform: TestPlatform;
let worker: Process;
/** Undisturbed: turns with long replies, and what is said to each. */
let undisturbed: { readonly id: number; readonly text: string }[];

function asked(name: string, id: number): Turn {
  const conversation = aConversation(`${name}-${id}`);
  return aTurn(id, { conversation, text: `Tell me ${id}`, sampling, maxTokens });
}

beforeAll(async () => {
  platform = await TestPlatform.start();
  worker = await platform.worker(impatient);
  undisturbed = [];
  for (let id = 1; undisturbed.length < streams; id++) {
    if (id > 200) throw new Error("no long replies");
    const { replyTokens, text } = await platform.exchange(asked("twin", id));
    if (replyTokens > 250) undisturbed.push({ id, text });
  }
});

beforeEach(async () => {
  if (!worker.running) worker = await platform.worker(impatient);
});

afterAll(async () => {
  await platform.stop();
});

/** Asks, and waits until every reply has been seen in part. */
async function begin(name: string): Promise<{
  readonly turns: readonly Turn[];
  /** In order, by conversation. */
  readonly frames: ReadonlyMap<ConversationId, TextFrame[]>;
}> {
  const turns = undisturbed.map(({ id }) => asked(name, id));
  const frames = new Map(turns.map(({ conversation }) => [conversation, [] as TextFrame[]]));
  const subscriber = new LiveSubscriber(await duplicateRedis(platform.state));
  for (const [conversation, seen] of frames) {
    await subscriber.subscribe(conversation, (frame) => {
      if (frame.kind === "text") seen.push(frame);
    });
  }
  for (const turn of turns) await platform.say(turn);
  const begun = (): boolean => [...frames.values()].every((seen) => (seen.at(-1)?.tokens ?? 0) > 5);
  await expect.poll(begun, { timeout: 60_000, interval: 2 }).toBe(true);
  return { turns, frames };
}

function count({ output }: Process, event: string): number {
  return output.split(event).length - 1;
}

async function partials(turns: readonly Turn[]): Promise<number> {
  const keys = turns.map(({ conversation }) => conversationKeys(conversation).partial);
  const there = await Promise.all(keys.map(async (key) => platform.truth.exists(key)));
  return there.reduce((sum, one) => sum + one, 0);
}

async function texts(turns: readonly Turn[]): Promise<string[]> {
  const records = await Promise.all(turns.map(async (turn) => platform.reply(turn, 100_000)));
  for (const { status } of records) expect(status).toBe("committed");
  return records.map(({ text }) => text);
}

test("asked to end, it hands replies over: what was seen stays, and the rest is the same", async () => {
  const { turns, frames } = await begin("handed");
  const leaving = worker;
  expect(await leaving.end()).toBe(0);
  expect(await partials(turns)).toBe(streams);
  const seen = new Map([...frames].map(([conversation, all]) => [conversation, [...all]]));
  worker = await platform.worker(impatient);
  expect(await texts(turns)).toEqual(undisturbed.map(({ text }) => text));
  for (const [conversation, before] of seen) {
    const last = before.at(-1);
    const later = frames.get(conversation)?.slice(before.length) ?? [];
    expect(later.length).toBeGreaterThan(0);
    // The successor begins behind what was seen.
    for (const { tokens, fence } of later) {
      expect(tokens).toBeGreaterThanOrEqual(last?.tokens ?? 0);
      expect(fence).toBeGreaterThan(last?.fence ?? 0);
    }
  }
  expect(await partials(turns)).toBe(0);
  // What of the states is worth it comes along.
  expect(count(worker, "state taken up")).toBe(count(leaving, "state handed over"));
});

test("handed over again and again, it comes to the same", async () => {
  const { turns, frames } = await begin("relay");
  for (let round = 0; round < 3; round++) {
    await worker.end();
    const before = new Map([...frames].map(([name, all]) => [name, all.at(-1)?.tokens ?? 0]));
    worker = await platform.worker(impatient);
    const went = (): boolean =>
      [...frames].some(([name, all]) => (all.at(-1)?.tokens ?? 0) > (before.get(name) ?? 0));
    await expect.poll(went, { timeout: 60_000, interval: 2 }).toBe(true);
  }
  expect(await texts(turns)).toEqual(undisturbed.map(({ text }) => text));
});

test("a successor that is killed leaves the place that it was given", async () => {
  const { turns } = await begin("killed");
  await worker.end();
  worker = await platform.worker(impatient);
  const claimed = async (): Promise<number> => {
    const keys = turns.map(({ conversation }) => conversationKeys(conversation).lease);
    return platform.truth.exists(...keys);
  };
  await expect.poll(claimed, { timeout: 60_000, interval: 2 }).toBeGreaterThan(0);
  await worker.end("SIGKILL");
  worker = await platform.worker(impatient);
  expect(await texts(turns)).toEqual(undisturbed.map(({ text }) => text));
});

test("with patience, replies that are nearly done are finished by the worker itself", async () => {
  await worker.end();
  worker = await platform.worker({ EYRIE_DRAIN_SECONDS: "12" });
  const turn = aTurn(7, { conversation: aConversation("short"), sampling, maxTokens: 40 });
  const other = aTurn(8, { conversation: aConversation("short-2"), sampling, maxTokens: 40 });
  await platform.say(turn);
  await platform.say(other);
  const { lease } = conversationKeys(turn.conversation);
  await expect.poll(async () => platform.truth.exists(lease), { interval: 1 }).toBe(1);
  expect(await worker.end()).toBe(0);
  expect(await partials([turn, other])).toBe(0);
  expect(
    (await platform.ledger.reply(turn.conversation, { turn: turn.id, attempt: 0 }))?.status,
  ).toBe("committed");
});

test("it is not ready any more before it ends, and lives on", async () => {
  await worker.end();
  worker = await platform.worker({ EYRIE_DRAIN_SECONDS: "1", EYRIE_SLOTS: "4" });
  const port = await worker.ready();
  const page = async (name: string): Promise<[number, string]> => {
    const response = await fetch(`http://127.0.0.1:${port}/${name}`);
    return [response.status, await response.text()];
  };
  const { turns } = await begin("ready");
  const gone = worker.end();
  await expect
    .poll(async () => page("ready"), { interval: 2 })
    .toEqual([503, expect.stringContaining("draining")]);
  expect((await page("live"))[0]).toBe(200);
  await gone;
  worker = await platform.worker(impatient);
  await texts(turns);
});

test("without the state Redis it hands over all the same, and answers what the log tells whole", async () => {
  const { turns } = await begin("stateless");
  await platform.stateServer.kill();
  expect(await worker.end()).toBe(0);
  expect(await partials(turns)).toBe(streams);
  await platform.stateServer.restart();
  worker = await platform.worker(impatient);
  expect(await texts(turns)).toEqual(undisturbed.map(({ text }) => text));
  // Another turn, while it is away: none of these logs was ever cut.
  await platform.stateServer.kill();
  const next = aTurn(1_000, {
    conversation: aConversation("stateless-new"),
    sampling,
    maxTokens: 8,
  });
  expect((await platform.exchange(next)).status).toBe("committed");
  await platform.stateServer.restart();
});
