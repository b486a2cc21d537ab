/**
 * Fault: the state Redis is lost with everything in it, and comes back empty.
 * Expected: states are made again from the token logs, when they are needed.
 * Invariant: conversations go on exactly as if nothing had happened.
 * Bound: a conversation of up to 512 tokens answers within 5 s.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

test(
  "conversations go on from their logs when all snapshots are gone",
  patience(1),
  async ({ task }) => {
    const scene = await Scene.open({ channels: 4 });
    const recorder = new Recorder();
    const everywhere = async (text: string): Promise<void> => {
      for (const channel of scene.channels) scene.say(text, channel);
      await scene.settled();
    };
    try {
      await everywhere("remember me");
      for (let round = 0; round < rounds(1); round++) {
        await everywhere(`round ${round} [words=20]`);
        // With the worker goes what its slots hold.
        await scene.workers.splice(0)[0]?.end("SIGTERM");
        await scene.platform.stateServer.kill();
        scene.platform.stateServer.forget();
        await scene.platform.stateServer.restart();
        await scene.startWorker();
        const startedMs = performance.now();
        await everywhere(`do you remember ${round}`);
        recorder.add("state Redis lost: answered", 5_000, performance.now() - startedMs);
        for (const said of scene.said.slice(-scene.channels.length)) {
          expect((await scene.record(said))?.replayedTokens).toBeGreaterThan(0);
        }
      }
      await check(scene);
    } finally {
      await scene.close();
    }
    recorder.save(task);
  },
);
