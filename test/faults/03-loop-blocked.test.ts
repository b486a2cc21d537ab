/**
 * Fault: a worker's event loop stands still for longer than its lease, as in a native call.
 * Expected: as if it were frozen: another worker takes over. When the loop runs again the worker sees
 *   how long it was silent, gives up what it held, and goes on with other turns. The lag is a metric.
 * Invariant: one answer; nothing of the late worker counts.
 * Bound: claimed within 6 s by another worker, which is started when it happens.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

const blockedMs = 5_000;

test(
  "a worker whose loop stood still gives up its turn and stays of use",
  patience(1),
  async ({ task }) => {
    const scene = await Scene.open();
    const recorder = new Recorder();
    const blocked = scene.workers[0]!;
    try {
      for (let round = 0; round < rounds(1); round++) {
        await scene.arm(blocked, "in-reply", { kind: "block", ms: blockedMs }, 2);
        const fence = await scene.fence();
        scene.say(`are you asleep [words=40] [ms=50] ${round}`);
        await scene.until(async () => (await scene.fence()) > fence, "its claim");
        const saidMs = performance.now();
        const other = await scene.startWorker();
        await scene.until(async () => (await scene.fence()) > fence + 1, "another claim");
        recorder.add(
          "event loop blocked: claimed by one started then",
          6_000,
          performance.now() - saidMs,
        );
        await scene.settled();
        const lag = await scene.metric(blocked, "nodejs_eventloop_lag_max_seconds");
        expect(lag).toBeGreaterThan(blockedMs / 2_000);
        await scene.kill(other);
        scene.say(`awake again ${round}`);
        await scene.settled();
      }
      expect(blocked.running).toBe(true);
      await check(scene);
    } finally {
      await scene.close();
    }
    recorder.save(task);
  },
);
