/**
 * Fault: the wake queue is emptied by force while turns wait, or a wake is never rung.
 * Expected: the sweeper finds mailboxes that are not empty and rings again.
 * Invariant: each turn is answered once.
 * Bound: answered within 6 s of the loss.
 */
import { test } from "vitest";
import { wakePrefix, wakeQueueName } from "#infra/redis/keys.ts";
import { scriptedModelName } from "#test/doubles/backend/model.ts";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

const channels = 6;

test("turns whose wakes are lost are answered all the same", patience(1), async ({ task }) => {
  // One slot: most wakes are waiting in the queue when it is emptied.
  const scene = await Scene.open({ channels, environment: { EYRIE_SLOTS: "1" } });
  const recorder = new Recorder();
  try {
    for (let round = 0; round < rounds(1); round++) {
      for (const channel of scene.channels) scene.say("wake me [words=10] [ms=30]", channel);
      await scene.until(async () => (await waitingTurns(scene)) === channels, "turns that wait");
      await scene.platform.truth.del(...(await queueKeys(scene)));
      const lostMs = performance.now();
      await scene.until(async () => (await waitingTurns(scene)) < channels - 1, "an answer");
      recorder.add("wake lost: the next turn is answered", 6_000, performance.now() - lostMs);
      await scene.settled();
    }
    await check(scene);
  } finally {
    await scene.close();
  }
  recorder.save(task);
});

async function queueKeys(scene: Scene): Promise<string[]> {
  return scene.platform.truth.keys(`${wakePrefix}:${wakeQueueName(scriptedModelName)}:*`);
}

async function waitingTurns(scene: Scene): Promise<number> {
  const summaries = scene.channels.map(async (channel) =>
    scene.platform.ledger.summary(scene.conversation(channel)),
  );
  return (await Promise.all(summaries)).reduce((sum, { waiting }) => sum + waiting, 0);
}
