/**
 * Fault: gateway and worker may open no further file or socket; later a worker runs out of memory.
 * Expected: what is open goes on working, what needs something new waits or fails and is tried again;
 *   a worker without memory dies, and another one goes on.
 * Invariant: one answer for each message.
 * Bound: 0 lost.
 */
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import type { Process } from "#test/platform/platform.ts";
import { check } from "./check.ts";
import { patience, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

const filesMax = 1_024;
const mayLimit = canLimit();

test.skipIf(!mayLimit)(
  "without a free file descriptor nothing is lost (needs prlimit)",
  patience(1),
  async () => {
    const scene = await Scene.open({ channels: 3 });
    const processes = [scene.workers[0]!, scene.gateway!];
    try {
      for (const channel of scene.channels) scene.say("before", channel);
      await scene.settled();
      for (let round = 0; round < rounds(1); round++) {
        for (const process of processes) limitFiles(process, lowestFreeFile(process));
        const asked = scene.channels.map((channel) => scene.say(`without means ${round}`, channel));
        await expect(
          fetch(`http://127.0.0.1:${await processes[0]!.ready()}/live`),
        ).rejects.toThrow();
        for (const said of asked) {
          await scene.until(async () => (await scene.record(said)) !== null, "a record");
        }
        for (const process of processes) limitFiles(process, filesMax);
        await scene.settled();
      }
      expect(processes.every(({ running }) => running)).toBe(true);
      await check(scene);
    } finally {
      await scene.close();
    }
  },
);

test("a worker that runs out of memory is replaced", patience(1), async () => {
  const scene = await Scene.open({ workers: 0 });
  try {
    for (let round = 0; round < rounds(1); round++) {
      const greedy = await scene.startWorker({ NODE_OPTIONS: "--max-old-space-size=96" });
      await scene.arm(greedy, "in-reply", { kind: "hog" }, 2);
      scene.say(`too much to think about [words=30] [ms=50] ${round}`);
      await greedy.ended;
      await scene.kill(greedy);
      const other = await scene.startWorker();
      await scene.settled();
      await scene.kill(other);
    }
    await check(scene);
  } finally {
    await scene.close();
  }
});

/** A limit is on numbers, not on counts: all below it must be taken. */
function lowestFreeFile({ pid }: Process): number {
  const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let free = 0;
  while (open.has(free)) free++;
  return free;
}

function limitFiles({ pid }: Process, files: number): void {
  execFileSync("prlimit", ["--pid", String(pid), `--nofile=${files}:${filesMax}`]);
}

function canLimit(): boolean {
  try {
    execFileSync("prlimit", ["--pid", String(process.pid)], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
