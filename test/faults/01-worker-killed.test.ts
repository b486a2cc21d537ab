/**
 * Fault: kill -9 of a worker in the middle of a turn, at every labelled point.
 * Expected: the lease runs out, another worker claims with a new fence and starts from the committed
 *   state; people see a pause, then the rest.
 * Invariant: one record, one answer, the log grows once, whatever the moment of death.
 * Bound: claimed again within 4.5 s, the next visible edit within 6 s (p99).
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import type { LabelName } from "./labels.ts";
import { Scene } from "./scene.ts";

const points: readonly LabelName[] = [
  "in-reply",
  "claimed",
  "reply-complete",
  "commit-unheard",
  "not-released",
];

test(
  `a worker killed at ${points.join(", ")}: each turn once`,
  patience(points.length),
  async ({ task }) => {
    const scene = await Scene.open({ workers: 2, channels: points.length });
    const recorder = new Recorder();
    try {
      for (let round = 0; round < rounds(points.length); round++) {
        await killOnce(scene, points[round % points.length] ?? "in-reply", { round, recorder });
      }
      await check(scene);
    } finally {
      await scene.close();
    }
    recorder.save(task);
  },
);

/** Of some fifty frames of a reply, in round after round at another one. */
function framesAt(round: number): number {
  return 3 + ((7 * round) % 40);
}

async function killOnce(
  scene: Scene,
  label: LabelName,
  { round, recorder }: { readonly round: number; readonly recorder: Recorder },
): Promise<void> {
  const channel = scene.channels[round % scene.channels.length];
  const fenceBefore = await scene.fence(channel);
  const { death } = await scene.armWorkers(label, label === "in-reply" ? framesAt(round) : 1);
  const said = scene.say(`round ${round} [words=24] [ms=60]`, channel);
  await death;
  const diedMs = performance.now();
  const committed = (await scene.record(said)) !== null;
  const shown = scene.shown(said);
  const replacement = scene.startWorker();
  if (!committed) {
    await scene.until(async () => (await scene.fence(channel)) > fenceBefore + 1, "another claim");
    recorder.add("worker killed: claimed again", 4_500, performance.now() - diedMs);
    await scene.until(() => scene.shown(said) !== shown, "a visible edit");
    recorder.add("worker killed: next visible edit", 6_000, performance.now() - diedMs);
  }
  await replacement;
  await scene.until(async () => (await scene.record(said)) !== null, "the record");
  expect(scene.replies(said)).toHaveLength(1);
}
