/**
 * Fault: a worker's and the gateway's lines to the truth Redis are half open: both ends look
 *   connected, nothing arrives and nothing comes back.
 * Expected: the worker gives up what it cannot renew and another one takes over; when the line breaks
 *   at last, both connect anew and go on.
 * Invariant: one answer for each message, what was said meanwhile included.
 * Bound: taken over within 8 s.
 */
import { test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Relay } from "./relay.ts";
import { Scene } from "./scene.ts";

test("lines that swallow everything lose and repeat nothing", patience(1), async ({ task }) => {
  const scene = await Scene.open({ workers: 0, gateway: false, channels: 2 });
  const { url } = scene.platform.truthServer;
  const ofWorker = await Relay.open(url, "of-worker");
  const ofGateway = await Relay.open(url, "of-gateway");
  const recorder = new Recorder();
  try {
    await Promise.all([
      scene.startWorker({ REDIS_URL: ofWorker.url }),
      scene.startGateway({ REDIS_URL: ofGateway.url }),
    ]);
    for (let round = 0; round < rounds(1); round++) {
      const said = scene.say(`are you there [words=40] [ms=60] ${round}`);
      await scene.firstWords(said);
      const fence = await scene.fence();
      ofWorker.become({ kind: "swallow" });
      ofGateway.become({ kind: "swallow" });
      const swallowedMs = performance.now();
      for (const channel of scene.channels) scene.say(`into the void ${round}`, channel);
      const other = await scene.startWorker();
      await scene.until(async () => (await scene.fence()) > fence, "another claim");
      recorder.add("half-open line: taken over", 8_000, performance.now() - swallowedMs);
      await scene.until(async () => (await scene.record(said)) !== null, "the record");
      ofWorker.mend();
      ofGateway.mend();
      await scene.settled();
      await other.end("SIGTERM");
    }
    await check(scene);
  } finally {
    await scene.close();
    await Promise.all([ofWorker.close(), ofGateway.close()]);
  }
  recorder.save(task);
});
