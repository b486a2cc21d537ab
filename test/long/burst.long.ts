/** Bursts while anything dies: workers, the gateway, the state Redis, at many moments. */
import { expect, test } from "vitest";
import { type Burst, runBurst, type Strike } from "#test/e2e/burst.ts";

const killWorker: Strike = async ({ workers, platform }) => {
  await workers.shift()?.end("SIGKILL");
  workers.push(await platform.worker());
};

const killBothWorkers: Strike = async ({ workers, platform }) => {
  await Promise.all(workers.splice(0).map((worker) => worker.end("SIGKILL")));
  workers.push(await platform.worker());
};

const killGateway: Strike = async (struck) => {
  await struck.gateway.end("SIGKILL");
  struck.gateway = await struck.startGateway();
};

const loseStates: Strike = async ({ platform }) => {
  await platform.state.flushall();
};

const killTruth: Strike = async ({ platform }) => {
  await platform.truthServer.kill();
  await platform.truthServer.restart();
};

const size = { channels: 20, messagesEach: 10 };
const scenes: readonly (readonly [string, Burst])[] = [
  ["a worker dies five times", each(killWorker, [20, 60, 100, 140, 180])],
  ["all workers die at once", each(killBothWorkers, [50, 120])],
  ["the gateway dies three times", each(killGateway, [30, 90, 150])],
  ["all snapshots and live streams are lost", each(loseStates, [40, 80, 120, 160])],
  ["the truth Redis is killed", each(killTruth, [60, 130])],
];

function each(strike: Strike, moments: readonly number[]): Burst {
  return { ...size, faults: moments.map((atTurns) => ({ atTurns, strike })) };
}

test.for(scenes)(
  "%s: 200 replies, each once, in order",
  { timeout: 400_000 },
  async ([, burst], { task }) => {
    const figures = await runBurst(burst);
    expect(figures.replies).toBe(200);
    Object.assign(task.meta, { figures });
  },
);
