/**
 * Fault: a worker can no longer reach the truth Redis, while it still reaches the state Redis.
 * Expected: it cannot renew, so it gives up what it holds and goes quiet; another worker answers.
 *   When the line is mended it works again.
 * Invariant: once the other worker speaks, nothing with the old fence is heard; one answer.
 * Bound: no live frame after the lease has run out.
 */
import { expect, test } from "vitest";
import { liveChannel } from "#infra/redis/keys.ts";
import type { LiveFrame } from "#infra/turn/index.ts";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Relay } from "./relay.ts";
import { Scene } from "./scene.ts";

test(
  "a worker cut off from truth goes quiet, and another one answers",
  patience(1),
  async ({ task }) => {
    const scene = await Scene.open({ workers: 0 });
    const relay = await Relay.open(scene.platform.truthServer.url, "cut-off");
    const recorder = new Recorder();
    const listener = scene.platform.state.duplicate();
    try {
      const fences: number[] = [];
      await listener.subscribe(liveChannel(scene.conversation()));
      listener.on("message", (_channel, message) => {
        const frame = JSON.parse(message) as LiveFrame;
        if (frame.kind === "text") fences.push(frame.fence);
      });
      const cutOff = await scene.startWorker({ REDIS_URL: relay.url });
      for (let round = 0; round < rounds(1); round++) {
        fences.length = 0;
        const said = scene.say(`who answers [words=120] [ms=60] ${round}`);
        await scene.until(() => fences.length > 2, "live frames");
        const old = await scene.fence();
        relay.become({ kind: "broken" });
        const brokenMs = performance.now();
        const other = await scene.startWorker();
        await scene.until(async () => (await scene.fence()) > old, "another claim");
        recorder.add("worker cut off: claimed by another", 6_000, performance.now() - brokenMs);
        await scene.settled();
        const first = fences.findIndex((fence) => fence > old);
        expect(first).toBeGreaterThan(0);
        expect(fences.slice(first).every((fence) => fence > old)).toBe(true);
        expect((await scene.record(said))?.fence).toBeGreaterThan(old);
        await other.end("SIGTERM");
        relay.mend();
        // The one that was cut off is of use again.
        scene.say(`and you ${round}`);
        await scene.settled();
        expect(cutOff.running).toBe(true);
      }
      await check(scene);
    } finally {
      listener.disconnect();
      await scene.close();
      await relay.close();
    }
    recorder.save(task);
  },
);
