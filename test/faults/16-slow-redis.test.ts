/**
 * Fault: each answer of the truth Redis takes 50 ms and more.
 * Expected: less is done in the same time; no timeout sets off another one, no lease is lost.
 * Invariant: each message one answer; nobody claims what is being worked on.
 * Bound: first words within 3 s at half load (p99).
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Relay } from "./relay.ts";
import { Scene } from "./scene.ts";

const channels = 6;
const lateMs = 25;

test("with a slow Redis everything happens once, only later", patience(1), async ({ task }) => {
  const scene = await Scene.open({ workers: 0, gateway: false, channels });
  const relay = await Relay.open(scene.platform.truthServer.url, "late");
  const recorder = new Recorder();
  try {
    const slowly = { REDIS_URL: relay.url };
    await Promise.all([
      scene.startWorker(slowly),
      scene.startWorker(slowly),
      scene.startGateway(slowly),
    ]);
    relay.become({ kind: "late", ms: lateMs });
    for (let round = 0; round < rounds(1); round++) {
      const saidMs = performance.now();
      const asked = scene.channels.map((channel) =>
        scene.say(`slowly ${round} [words=30] [ms=60]`, channel),
      );
      for (const said of asked) {
        await scene.firstWords(said);
        recorder.add("slow Redis: first words", 3_000, performance.now() - saidMs);
      }
      await scene.settled();
      for (const channel of scene.channels) expect(await scene.fence(channel)).toBe(1 + round);
    }
    expect(scene.refusals("lease-lost") + scene.refusals("already-committed")).toBe(0);
    await check(scene);
  } finally {
    await scene.close();
    await relay.close();
  }
  recorder.save(task);
});
