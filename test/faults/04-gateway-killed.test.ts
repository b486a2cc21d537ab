/**
 * Fault: kill -9 of the gateway while it shows a reply, at every labelled point.
 * Expected: the next gateway resumes from our own stored sequence, finds unfinished replies in truth
 *   and goes on in the same message.
 * Invariant: never a second message, and the last text is the record's.
 * Bound: the reply moves again within 10 s of the death, the gateway's start included (p99).
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import type { LabelName } from "./labels.ts";
import { Scene } from "./scene.ts";

const points: readonly (LabelName | "in-stream")[] = [
  "in-stream",
  "message-unnoted",
  "ending-unshown",
  "delivery-unmarked",
];

test(
  `a gateway killed at ${points.join(", ")}: the same message goes on`,
  patience(points.length),
  async ({ task }) => {
    const scene = await Scene.open({ channels: 2 });
    const recorder = new Recorder();
    try {
      for (let round = 0; round < rounds(points.length); round++) {
        await killOnce(scene, points[round % points.length]!, { round, recorder });
      }
      await check(scene);
      expect(scene.double.counters().identifies).toBe(1);
    } finally {
      await scene.close();
    }
    recorder.save(task);
  },
);

async function killOnce(
  scene: Scene,
  point: LabelName | "in-stream",
  { round, recorder }: { readonly round: number; readonly recorder: Recorder },
): Promise<void> {
  const channel = scene.channels[round % scene.channels.length];
  const armed = point === "in-stream" ? null : await scene.armGateway(point);
  const said = scene.say(`shown by two [words=40] [ms=60] ${round}`, channel);
  if (armed === null) {
    await scene.firstWords(said);
    await scene.gateway?.end("SIGKILL");
  } else await armed.death;
  const diedMs = performance.now();
  const before = scene.replies(said).map(({ id }) => id);
  const shown = scene.shown(said);
  await scene.startGateway();
  const final = async (): Promise<boolean> =>
    shown === ((await scene.record(said))?.text ?? "no record yet");
  await scene.until(async () => scene.shown(said) !== shown || (await final()), "an edit");
  recorder.add("gateway killed: the reply goes on", 10_000, performance.now() - diedMs);
  await scene.settled();
  expect(scene.replies(said).map(({ id }) => id)).toEqual(before);
}
