/**
 * Fault: Discord has forgotten the gateway's session: it says opcode 9 `false`, or the gateway was
 *   away for longer than a session lives. What is said meanwhile is told to nobody.
 * Expected: one IDENTIFY, then the channels that have news are read from the last message that was
 *   handled; what was handled after all is known by its id.
 * Invariant: every message is answered once.
 * Bound: answered within 60 s, 0 duplicates.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

const sessionMs = 180_000;

test(
  "what was said to no session is looked up and answered once",
  patience(2),
  async ({ task }) => {
    const scene = await Scene.open({ channels: 3, double: { sessionMs } });
    const recorder = new Recorder();
    const everywhere = (text: string): void => {
      for (const channel of scene.channels.slice(1)) scene.say(text, channel);
    };
    try {
      scene.say("the first channel has no news later");
      everywhere("before");
      await scene.settled();
      for (let round = 0; round < rounds(2); round++) {
        if (round % 2 === 0) {
          scene.double.gateway.invalidateSessions({ resumable: false });
          everywhere(`to nobody ${round}`);
        } else {
          await scene.gateway?.end("SIGKILL");
          // or its session, still young, would be resumed
          await expect.poll(() => scene.double.gateway.live).toEqual([]);
          everywhere(`to nobody ${round}`);
          scene.double.clock.pass(sessionMs + 1_000);
          await scene.startGateway();
        }
        const saidMs = performance.now();
        await scene.settled();
        recorder.add("session forgotten: answered", 60_000, performance.now() - saidMs);
        everywhere(`to the new session ${round}`);
        await scene.settled();
      }
      await check(scene);
      expect(scene.double.counters().identifies).toBe(1 + rounds(2));
    } finally {
      await scene.close();
    }
    recorder.save(task);
  },
);
