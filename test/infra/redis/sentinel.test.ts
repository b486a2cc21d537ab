/**
 * A master that is killed while conversations go on: its replica takes over, nobody is told a new
 * address, and what was replicated is there.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Turn } from "#infra/turn/index.ts";
import { ask } from "#test/platform/dialogue.ts";
import { type Process, TestPlatform } from "#test/platform/platform.ts";
import { SentinelFleet } from "#test/redis/fleet.ts";
import { aConversation } from "../turns.ts";

const conversations = 6;
const turn = (index: number, id: number): Turn => ask(aConversation(`failover-${index}`), id);

let fleet: SentinelFleet;
let platform: TestPlatform<SentinelFleet>;
let workers: Process[];

beforeAll(async () => {
  fleet = await SentinelFleet.start();
  platform = await TestPlatform.on({ truth: fleet, state: fleet });
  workers = await Promise.all([platform.worker(), platform.worker()]);
}, 120_000);

afterAll(async () => {
  await platform.stop();
}, 60_000);

test("kill -9 of the master: conversations go on, nothing that was replicated is lost", async ({
  task,
}) => {
  const said: Turn[] = [];
  for (let id = 1; id <= 5; id++) {
    for (let index = 0; index < conversations; index++) {
      const one = turn(index, id);
      await platform.say(one);
      expect(await platform.truth.wait(1, 10_000)).toBe(1);
      said.push(one);
    }
  }
  await fleet.kill(fleet.masterPort);
  const killedMs = performance.now();
  let acceptedMs = killedMs;
  // Asked of whoever is the master by then.
  for (let id = 6; id <= 8; id++) {
    for (let index = 0; index < conversations; index++) {
      const one = turn(index, id);
      await platform.say(one);
      said.push(one);
      if (id === 6 && index === 0) acceptedMs = performance.now();
    }
  }
  await platform.reply(turn(0, 6), 60_000);
  const since = (atMs: number): number => Math.round((atMs - killedMs) / 100) / 10;
  const figures = {
    secondsToFirstTurn: since(acceptedMs),
    secondsToFirstReply: since(performance.now()),
  };
  Object.assign(task.meta, { figures });
  for (const one of said) {
    expect(await platform.reply(one, 60_000)).toMatchObject({ status: "committed", turn: one.id });
  }
  for (let index = 0; index < conversations; index++) {
    const conversation = aConversation(`failover-${index}`);
    const { logHead, turns } = await platform.ledger.summary(conversation);
    expect(turns).toBe(8);
    // One chain of blocks, each with its checksum.
    expect(await platform.ledger.log(conversation, logHead)).not.toBeNull();
  }
  for (const worker of workers) expect(worker.running).toBe(true);
}, 240_000);
