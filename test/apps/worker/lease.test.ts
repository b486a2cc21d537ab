/** A worker that was not there for a while does not speak for a conversation any more. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { holdLease } from "#apps/worker/lease/lease.ts";
import { systemClock } from "#infra/clock/clock.ts";
import { LiveSubscriber } from "#infra/live/live.ts";
import { type Claim, leaseMs } from "#infra/mailbox/mailbox.ts";
import { duplicateRedis } from "#infra/redis/client.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import type { LiveFrame, Turn } from "#infra/turn/index.ts";
import { type Process, TestPlatform } from "#test/platform/platform.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start();
});

beforeEach(async () => {
  await platform.truth.flushall();
});

afterAll(async () => {
  await platform.stop();
});

async function claim(): Promise<Claim> {
  const turn = aTurn(1);
  await platform.mailbox.append(turn);
  const outcome = await platform.mailbox.claim(turn.conversation, "w");
  if (outcome.kind !== "claimed") throw new Error(outcome.kind);
  return outcome.claim;
}

/** Nothing else in this process runs meanwhile. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test("after half a lease of standstill it is given up before any timer has run", async () => {
  const held = holdLease(platform.mailbox, await claim(), systemClock);
  block(leaseMs / 2 + 50);
  expect(held.lost.aborted).toBe(false);
  expect(held.mine()).toBe(false);
  expect(held.lost.aborted).toBe(true);
});

test("renewed, it is held for longer than it lives; taken by another, it is given up", async () => {
  const first = await claim();
  const held = holdLease(platform.mailbox, first, systemClock);
  await new Promise((done) => setTimeout(done, leaseMs + 500));
  expect(held.mine()).toBe(true);
  await platform.truth.set(conversationKeys(first.conversation).lease, "9:other");
  await expect.poll(() => held.lost.aborted).toBe(true);
  held.letGo();
}, 30_000);

/** epoll_pwait and epoll_wait of x86-64, epoll_pwait of arm64. */
const waits = new Set(["281", "232", "22"]);

/**
 * Stops a process while its event loop waits: what it has decided to say is on its way, and nothing lies
 * half-written in its memory, to be sent when it wakes up.
 */
async function freeze(process: Process): Promise<void> {
  for (;;) {
    process.signal("SIGSTOP");
    const file = (name: string): string => readFileSync(`/proc/${process.pid}/${name}`, "utf8");
    while (!/\) T /.test(file("stat"))) await sleep(1);
    if (waits.has(file("syscall").split(" ", 1)[0]!)) return;
    process.signal("SIGCONT");
    await sleep(1);
  }
}

test("a frozen worker that wakes up says nothing, and is not counted as dead", async () => {
  // So hot and long that it is at it all the time.
  const hot = { temperature: 6, topP: 1, presencePenalty: 0, frequencyPenalty: 0, penaltyDecay: 1 };
  const turns = [1, 2, 3, 4, 5, 6].map((id) =>
    aTurn(id, { conversation: aConversation(`frozen-${id}`), sampling: hot, maxTokens: 2_000 }),
  );
  const said: { readonly turn: Turn; readonly frame: LiveFrame }[] = [];
  const subscriber = new LiveSubscriber(await duplicateRedis(platform.state));
  for (const turn of turns) {
    await subscriber.subscribe(turn.conversation, (frame) => said.push({ turn, frame }));
  }
  const frozen = await platform.worker();
  for (const turn of turns) await platform.say(turn);
  await expect.poll(() => said.length, { interval: 1 }).toBeGreaterThan(turns.length);
  await freeze(frozen);
  // What it had sent by then has been carried out when this answers; a reply that it committed is its own,
  // and it may tell of it when it wakes.
  await platform.truth.ping();
  const leases = await Promise.all(
    turns.map(async ({ conversation }) => platform.truth.get(conversationKeys(conversation).lease)),
  );
  const held = turns.filter((_, i) => leases[i] !== null);
  expect(held).not.toEqual([]);
  const successor = await platform.worker();
  for (const turn of turns) await platform.reply(turn, 60_000);
  const told = (): Turn[] =>
    held.filter((turn) => said.some((hint) => hint.turn === turn && hint.frame.kind === "done"));
  await expect.poll(told, { timeout: 10_000 }).toEqual(held);
  said.length = 0;
  frozen.signal("SIGCONT");
  await expect.poll(() => frozen.output.split('"lease lost"').length - 1).toBe(held.length);
  expect(said.filter(({ turn }) => held.includes(turn))).toEqual([]);
  const records = await Promise.all(turns.map(async (turn) => platform.reply(turn)));
  expect(records.map(({ status }) => status)).toEqual(turns.map(() => "committed"));
  await Promise.all([frozen.end(), successor.end()]);
}, 120_000);
