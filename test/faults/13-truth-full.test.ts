/**
 * Fault: the truth Redis has reached `maxmemory` (noeviction).
 * Expected: new turns are refused with BUSY_TRY_LATER; a turn that runs may end: the scripts that
 *   replace admitted work are flagged `allow-oom`, the one that admits is not.
 * Invariant: no half a commit; what was refused left nothing behind; all goes on when memory is back.
 * Bound: the running turn is committed and shown while memory is full.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

test(
  "with truth full a running turn ends, a new one is refused, later ones are answered",
  patience(1),
  async () => {
    const scene = await Scene.open({ channels: 2 });
    const [running, other] = scene.channels;
    const { truth } = scene.platform;
    try {
      for (let round = 0; round < rounds(1); round++) {
        const said = scene.say("still running [words=30] [ms=60]", running);
        await scene.firstWords(said);
        await truth.config("SET", "maxmemory", "1");
        const stored = await truth.keys("eyrie:{*");
        const notice = await scene.sayInVain("refuse me", other);
        expect(notice).toContain("I can't take on anything new right now.");
        await scene.until(async () => (await scene.record(said)) !== null, "the record");
        await scene.settled();
        const kept = await truth.keys(`eyrie:{*:${scene.conversation(other)}:known:*`);
        expect(kept.every((key) => stored.includes(key))).toBe(true);
        await truth.config("SET", "maxmemory", "1gb");
        scene.say(`memory is back ${round}`, running);
        scene.say(`here as well ${round}`, other);
        await scene.settled();
      }
      await check(scene);
    } finally {
      await scene.close();
    }
  },
);
