/**
 * Fault: the master of the truth dies while its replica knows nothing of the last turns, and sentinels
 *   make the replica master.
 * Expected: everybody finds the new master; what it never heard of is queued again by the gateway that
 *   had put it there; a reply that no replica had was not shown as final, and is drawn again.
 * Invariant: every message is answered once, with what is foretold.
 * Bound: the first turn that was lost is answered within 10 s of the master's end.
 */
import { expect, test } from "vitest";
import { TestPlatform, type TestRedis } from "#test/platform/platform.ts";
import { SentinelFleet } from "#test/redis/fleet.ts";
import { RedisServer } from "#test/redis/server.ts";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

test(
  "a failover that loses acknowledged turns loses nothing that was said",
  patience(4),
  async ({ task }) => {
    const recorder = new Recorder();
    for (let round = 0; round < rounds(1); round++) {
      const fleet = await SentinelFleet.start();
      const state: TestRedis = await RedisServer.start();
      const truth: TestRedis = fleet;
      const scene = await Scene.on(await TestPlatform.on({ truth, state }), { channels: 4 });
      try {
        for (const channel of scene.channels) scene.say("known to both", channel);
        await scene.settled();
        await fleet.cutReplication();
        const [first, second, third] = scene.channels;
        const answered = scene.say("answered by the old master", first);
        const begun = scene.say("begun under the old master [words=40] [ms=60]", second);
        await scene.until(async () => (await scene.record(answered)) !== null, "its record");
        await scene.firstWords(begun);
        // Nobody else has the reply: it is shown, and does not look final.
        await scene.until(() => scene.shown(answered).includes("word"), "its words");
        expect(scene.shown(answered)).toContain("▌");
        await fleet.kill(fleet.masterPort);
        const killedMs = performance.now();
        scene.say("said to no master", third);
        await scene.until(async () => (await scene.record(answered)) !== null, "its record again");
        recorder.add("failover: a lost turn is answered", 10_000, performance.now() - killedMs);
        // Now there is a replica again, and what it has may be shown as final.
        fleet.restart(fleet.masterPort);
        await check(scene, { reordered: true });
        expect(await scene.metric(scene.gateway!, "eyrie_gateway_turns_put_back_total")).toBe(2);
      } finally {
        await scene.close();
      }
    }
    recorder.save(task);
  },
);
