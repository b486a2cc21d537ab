/** The worker as a process: real Redis, real Eaglet, real kills. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LiveSubscriber } from "#infra/live/live.ts";
import { requestStop } from "#infra/control/control.ts";
import { duplicateRedis } from "#infra/redis/client.ts";
import { snapshotIndexKey } from "#infra/redis/keys.ts";
import type { LiveFrame, Turn } from "#infra/turn/index.ts";
import { liveWorkers } from "#infra/wake/workers.ts";
import { questions, sampling } from "#test/platform/dialogue.ts";
import { TestPlatform, type Process } from "#test/platform/platform.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

let platform: TestPlatform;
let worker: Process;

beforeAll(async () => {
  platform = await TestPlatform.start();
  worker = await platform.worker();
});

afterAll(async () => {
  await platform.stop();
});

function ask(name: string, index: number, values: Partial<Turn> = {}): Turn {
  const text = questions[index % questions.length] ?? "";
  return aTurn(index + 1, { conversation: aConversation(name), text, sampling, ...values });
}

async function talk(name: string, from: number, to: number): Promise<string[]> {
  const texts: string[] = [];
  for (let index = from; index < to; index++) {
    texts.push((await platform.exchange(ask(name, index))).text);
  }
  return texts;
}

test("answers a turn: record, log, live frames, health pages, announcement", async () => {
  const conversation = aConversation("first");
  const frames: LiveFrame[] = [];
  const subscriber = new LiveSubscriber(await duplicateRedis(platform.state));
  await subscriber.subscribe(conversation, (frame) => frames.push(frame));
  const record = await platform.exchange(ask("first", 0));
  expect(record).toMatchObject({ status: "committed", seq: 1, replayedTokens: 0 });
  expect(record.text.length).toBeGreaterThan(0);
  const summary = await platform.ledger.summary(conversation);
  expect(summary.turns).toBe(1);
  // The blank line that closes the state is fed after the drawn tokens, at most two tokens more.
  const drawn = record.promptTokens + record.replyTokens;
  expect(summary.logHead.tokens - drawn).toBeGreaterThanOrEqual(-1);
  expect(summary.logHead.tokens - drawn).toBeLessThanOrEqual(2);
  await expect.poll(() => frames.at(-1)).toMatchObject({ kind: "done", turn: "1" });
  const said = frames.filter((frame) => frame.kind === "text");
  expect(said[0]?.at).toBe(0);
  for (const { at, text } of said) expect(record.text.startsWith(text.trimEnd(), at)).toBe(true);

  const port = await worker.ready();
  for (const [page, word] of [
    ["live", "true"],
    ["ready", "true"],
    ["metrics", "eyrie_worker_turns_total"],
  ]) {
    const answer = await fetch(`http://127.0.0.1:${port}/${page}`);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain(word);
  }
  expect(await liveWorkers(platform.truth, "eaglet")).toHaveLength(1);
});

test("the same turns say the same, in any company", async () => {
  const alone = await talk("alone", 0, 3);
  const crowd = await Promise.all(
    Array.from({ length: 12 }, (_, index) => talk(`crowd-${index}`, 0, 3)),
  );
  for (const texts of crowd) expect(texts).toEqual(alone);
});

describe("goes on where it was", () => {
  test("after a clean stop, from the snapshot", async () => {
    const unbroken = await talk("unbroken", 0, 5);
    const before = await talk("stopped", 0, 3);
    expect(await worker.end()).toBe(0);
    expect(await platform.state.zcard(snapshotIndexKey(aConversation("stopped")))).toBeGreaterThan(
      0,
    );
    worker = await platform.worker();
    expect([...before, ...(await talk("stopped", 3, 5))]).toEqual(unbroken);
  });

  test("after kill -9, from the token log alone", async () => {
    const unbroken = await talk("unbroken-2", 0, 5);
    const before = await talk("killed", 0, 3);
    await worker.end("SIGKILL");
    await platform.state.flushall();
    worker = await platform.worker();
    const turn = ask("killed", 3);
    const record = await platform.exchange(turn);
    expect(record.replayedTokens).toBeGreaterThan(0);
    const after = [record.text, ...(await talk("killed", 4, 5))];
    expect([...before, ...after]).toEqual(unbroken);
  });

  test("and from nothing after a reset", async () => {
    const fresh = await talk("fresh", 3, 4);
    await talk("reset", 0, 3);
    expect(await platform.conversations.reset(aConversation("reset"))).toBeGreaterThan(0);
    expect(await talk("reset", 3, 4)).toEqual(fresh);
  });

  test("past a snapshot that rotted", async () => {
    const unbroken = await talk("unbroken-3", 0, 4);
    await talk("rotten", 0, 3);
    await worker.end();
    const conversation = aConversation("rotten");
    const [head = ""] = await platform.state.zrevrange(snapshotIndexKey(conversation), 0, 0);
    const key = `eyrie:{${conversation}}:snapshot:${head}`;
    const chunk = (await platform.state.hgetBuffer(key, "0")) ?? Buffer.alloc(0);
    chunk[chunk.length >> 1] = (chunk[chunk.length >> 1] ?? 0) ^ 1;
    await platform.state.hset(key, "0", chunk);
    worker = await platform.worker();
    expect(await talk("rotten", 3, 4)).toEqual(unbroken.slice(3));
    expect(worker.output).toContain("bad-checksum");
  });
});

test("a stop ends the reply with what it has said", async () => {
  const turn = ask("stop", 0, {
    maxTokens: 4000,
    sampling: { ...sampling, topP: 1, temperature: 3 },
  });
  await requestStop(platform.truth, turn.conversation, { turn: turn.id, attempt: 0 });
  const record = await platform.exchange(turn);
  expect(record.end).toBe("stopped");
});

test("a message longer than allowed fails by name and the conversation goes on", async () => {
  const long = ask("long", 0, { text: "word ".repeat(20_000).trim() });
  const record = await platform.exchange(long);
  expect(record).toMatchObject({ status: "failed", code: "MESSAGE_TOO_LONG" });
  expect((await platform.exchange(ask("long", 1))).status).toBe("committed");
  const { logHead, turns } = await platform.ledger.summary(long.conversation);
  expect(turns).toBe(2);
  expect(logHead.tokens).toBeLessThan(500);
});

test("turns of one conversation are answered in order, by two workers", async () => {
  const second = await platform.worker();
  const turns = Array.from({ length: 12 }, (_, index) => ask("order", index));
  for (const turn of turns) await platform.say(turn);
  const records = await Promise.all(turns.map((turn) => platform.reply(turn)));
  expect(records.map(({ seq }) => seq)).toEqual(turns.map((_, index) => index + 1));
  const fences = records.map(({ fence }) => fence);
  expect(fences).toEqual(fences.toSorted((a, b) => a - b));
  await second.end();
});

test("a text that is logged is found by the search that every platform test ends with", async () => {
  const record = await platform.exchange(ask("secret", 0, { text: "my very secret words" }));
  expect(record.status).toBe("committed");
  expect(platform.output).toContain("turn committed");
  const leaky = await TestPlatform.start();
  const process = await leaky.worker();
  leaky.mustNotBeLogged("worker ready");
  await process.end();
  await expect(leaky.stop()).rejects.toThrow('logged "worker ready"');
});
