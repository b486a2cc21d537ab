/**
 * Fault: the wall clocks of worker and gateway are ten minutes wrong, each in another direction, and
 *   jump while a reply runs.
 * Expected: nothing is decided by a foreign clock: order is by Redis' counters and Discord's ids,
 *   leases by Redis' TTL and a fence, waiting by clocks that only run on.
 * Invariant: as with right clocks; no turn is claimed twice.
 * Bound: 0 effects.
 */
import { expect, test } from "vitest";
import type { Process } from "#test/platform/platform.ts";
import { check } from "./check.ts";
import { patience, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

const wrongMs = 10 * 60_000;

test("clocks that are wrong and jump change nothing", patience(1), async () => {
  const scene = await Scene.open({ workers: 2, channels: 3 });
  const processes = [...scene.workers, scene.gateway].filter((one): one is Process => one !== null);
  const skewAll = async (sign: number): Promise<void> => {
    for (const [index, one] of processes.entries()) {
      await scene.skew(one, index % 2 === 0 ? sign * wrongMs : -sign * wrongMs);
    }
  };
  try {
    for (let round = 0; round < rounds(1); round++) {
      await skewAll(1);
      const asked = scene.channels.map((channel) =>
        scene.say(`what time is it ${round} [words=30] [ms=50]`, channel),
      );
      for (const said of asked) await scene.firstWords(said);
      await skewAll(-1);
      for (const channel of scene.channels) scene.say(`and now ${round}`, channel);
      await scene.settled();
    }
    for (const channel of scene.channels) expect(await scene.fence(channel)).toBe(2 * rounds(1));
    await check(scene);
  } finally {
    await scene.close();
  }
});
