/**
 * Fault: the gateway dies between reading an event and having its turn queued, or right after.
 * Expected: the stored sequence is behind the event, so RESUME tells it again; a turn that did get in
 *   is known; a wake that was not rung is rung by the sweeper.
 * Invariant: nothing said is lost and nothing is answered twice.
 * Bound: 0 lost.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import type { LabelName } from "./labels.ts";
import { Scene } from "./scene.ts";

const points: readonly LabelName[] = ["event-read", "turn-queued", "bell-silent"];
const messagesEach = 3;

test(
  `a gateway killed at ${points.join(", ")}: every message is answered once`,
  patience(points.length),
  async ({ task }) => {
    const scene = await Scene.open({ channels: 2 });
    const recorder = new Recorder();
    try {
      for (let round = 0; round < rounds(points.length); round++) {
        // Not always at the first: some messages are in, one is on its way, some are not yet read.
        const { death } = await scene.armGateway(points[round % points.length]!, 1 + (round % 2));
        for (let index = 0; index < messagesEach; index++) {
          const channel = scene.channels[index % scene.channels.length];
          scene.say(`message ${index} of round ${round}`, channel);
        }
        await death;
        const diedMs = performance.now();
        scene.say(`said to nobody in round ${round}`);
        await scene.startGateway();
        await scene.settled();
        recorder.add(
          "gateway died before the mailbox: answered",
          10_000,
          performance.now() - diedMs,
        );
      }
      await check(scene);
      expect(scene.double.counters().identifies).toBe(1);
    } finally {
      await scene.close();
    }
    recorder.save(task);
  },
);
