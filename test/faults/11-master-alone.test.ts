/**
 * Fault: the master of the truth is cut off from its replica while people talk, and takes writes only
 *   as long as it has one (`min-replicas-to-write 1`); then it dies, and sentinels replace it.
 * Expected: who speaks meanwhile is told to try later; a reply that is being drawn is not shown as
 *   final, and is drawn again by the new master's word.
 * Invariant: every message that was not refused is answered once; no final text is lost.
 * Bound: writes are refused within 3 s.
 */
import { expect, test } from "vitest";
import { TestPlatform, type TestRedis } from "#test/platform/platform.ts";
import { SentinelFleet } from "#test/redis/fleet.ts";
import { RedisServer } from "#test/redis/server.ts";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

test("a master without its replica accepts nothing", patience(4), async ({ task }) => {
  const recorder = new Recorder();
  for (let round = 0; round < rounds(1); round++) {
    const fleet = await SentinelFleet.start(["min-replicas-to-write 1", "min-replicas-max-lag 2"]);
    const truth: TestRedis = fleet;
    const state: TestRedis = await RedisServer.start();
    const scene = await Scene.on(await TestPlatform.on({ truth, state }), { channels: 3 });
    try {
      const [first, second, third] = scene.channels;
      for (const channel of scene.channels) scene.say("known to both", channel);
      await scene.settled();
      const begun = scene.say("begun with a replica [words=60] [ms=40]", first);
      await scene.firstWords(begun);
      await fleet.cutReplication();
      const cutMs = performance.now();
      const notice = await scene.sayInVain("said to a master alone", second);
      recorder.add("master alone: writes refused", 3_000, performance.now() - cutMs);
      expect(notice).not.toContain("word");
      expect(scene.shown(begun)).toContain("▌");
      await fleet.kill(fleet.masterPort);
      await fleet.promoted();
      // Until now the new one is as alone.
      fleet.restart(fleet.masterPort);
      await scene.until(async () => (await scene.record(begun)) !== null, "its record");
      scene.say("said to the new master", third);
      await check(scene);
    } finally {
      await scene.close();
    }
  }
  recorder.save(task);
});
