/**
 * Fault: a turn that kills every worker that runs it.
 * Expected: after two crashes the turns of that batch are answered one at a time, so the third crash
 *   takes nobody with it; then the turn, not its conversation, ends as failed by a code.
 * Invariant: the mates in the batch are answered, and so is what waited behind the poison.
 * Bound: at most 3 crashes.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene, type Said } from "./scene.ts";

const mates = 4;

test(
  "a turn that kills workers ends as failed, and its batch mates are answered",
  patience(1),
  async ({ task }) => {
    const scene = await Scene.open({ channels: 1 + mates });
    const recorder = new Recorder();
    const failed = new Map<Said, string>();
    const endSupervision = scene.supervise();
    try {
      for (let round = 0; round < rounds(1); round++) {
        for (const channel of scene.channels.slice(1)) {
          scene.say("an innocent question [words=20] [ms=80]", channel);
        }
        const startedMs = performance.now();
        failed.set(scene.say("[die] [words=20] [ms=80]"), "TURN_FAILED");
        scene.say("asked behind the poison");
        await scene.settled();
        recorder.add("poison turn: all others answered", 30_000, performance.now() - startedMs);
      }
      const deaths = await endSupervision();
      expect(deaths).toBeLessThanOrEqual(3 * failed.size);
      expect(deaths).toBeGreaterThan(0);
      await check(scene, { failed });
    } finally {
      await endSupervision();
      await scene.close();
    }
    recorder.save(task);
  },
);
