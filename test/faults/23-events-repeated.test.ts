/**
 * Fault: events come twice, out of order, and the connection is cut again and again.
 * Expected: a turn id enters a mailbox once; RESUME brings what did not arrive.
 * Invariant: each message one answer, whatever came how often.
 * Bound: 0 duplicates, 0 lost.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, rounds } from "./figures.ts";
import { type Said, Scene } from "./scene.ts";

const channels = 10;
const messagesEach = 8;

test("events told twice, shuffled and cut off make each turn once", patience(1), async () => {
  const scene = await Scene.open({ channels });
  try {
    for (let round = 0; round < rounds(1); round++) {
      const faults = { duplicateChance: 0.2, reorderWindow: 10, cutEvery: 40 };
      scene.double.deliveryFaults.set({ ...faults, seed: 1 + round });
      const before = scene.said.length;
      for (let index = 0; index < messagesEach; index++) {
        for (const channel of scene.channels) scene.say(`no. ${index} of ${round}`, channel);
      }
      await scene.settled();
      await scene.until(() => scene.said.slice(before).every(isAnswered(scene)), "all answers");
    }
    scene.double.deliveryFaults.clear();
    await check(scene, { reordered: true });
    const { identifies, resumes } = scene.double.counters();
    expect(resumes).toBeGreaterThan(0);
    expect(identifies).toBe(1);
  } finally {
    await scene.close();
  }
});

function isAnswered(scene: Scene): (said: Said) => boolean {
  return (said) => scene.replies(said).length > 0;
}
