/**
 * Fault: a deployment: both workers and the gateway are asked to end (SIGTERM) and replaced, one
 *   after the other, while replies stream.
 * Expected: who is asked to end takes nothing new, is no longer ready but alive, finishes or hands
 *   over what runs, and is gone within 30 s.
 * Invariant: 0 lost, 0 duplicate; nobody ends otherwise than asked.
 * Bound: for replies that stream then, the longest gap between two visible versions is at most 3 s
 *   longer than the edit interval (p95).
 */
import { expect, test } from "vitest";
import type { Process } from "#test/platform/platform.ts";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene, type Said } from "./scene.ts";

const streams = 12;
const editIntervalMs = 1_200;

test("a rolling restart under streams loses and repeats nothing", patience(1), async ({ task }) => {
  const scene = await Scene.open({ workers: 2, channels: streams });
  const recorder = new Recorder();
  try {
    for (let round = 0; round < rounds(1); round++) {
      const asked = scene.channels.map((channel) =>
        scene.say(`a long story ${round} [words=60] [ms=40]`, channel),
      );
      for (const said of asked) await scene.firstWords(said);
      for (const old of scene.workers.splice(0)) {
        const replacement = await scene.startWorker();
        expect(await end(old, recorder)).toBe(0);
        expect(replacement.running).toBe(true);
      }
      expect(await end(scene.gateway!, recorder)).toBe(0);
      await scene.startGateway();
      for (const channel of scene.channels) scene.say(`after it ${round}`, channel);
      await scene.settled();
      for (const said of asked) {
        const gapMs = Math.max(0, longestGapMs(scene, said) - editIntervalMs);
        recorder.add("rolling restart: gap beyond the edit interval", 3_000, gapMs);
      }
    }
    await check(scene);
    expect(scene.double.counters().identifies).toBe(1);
  } finally {
    await scene.close();
  }
  recorder.save(task);
});

async function end(process: Process, recorder: Recorder): Promise<number | null> {
  const startedMs = performance.now();
  const code = await process.end("SIGTERM");
  recorder.add("asked to end: gone", 30_000, performance.now() - startedMs);
  return code;
}

function longestGapMs(scene: Scene, said: Said): number {
  const times = scene.replies(said).flatMap(({ history }) => history.map(({ atMs }) => atMs));
  return Math.max(0, ...times.slice(1).map((at, index) => at - (times[index] ?? at)));
}
