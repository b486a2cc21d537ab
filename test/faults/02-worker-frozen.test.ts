/**
 * Fault: a worker is frozen (SIGSTOP) past its lease and goes on later (SIGCONT).
 * Expected: another worker takes its turn; the late commit is refused by the fence, late live frames
 *   carry an old fence.
 * Invariant: no effect of the frozen worker, neither while the other one still works on the turn nor
 *   after it has committed.
 * Bound: 0 effects; claimed by the other worker within 4.5 s.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Process } from "#test/platform/platform.ts";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import type { LabelName } from "./labels.ts";
import { Scene } from "./scene.ts";

interface Case {
  readonly label: LabelName;
  /** When the frozen one goes on. */
  readonly thaw: "during" | "after";
  /** How its own commit is refused; null when it gives up before it tries. */
  readonly refusal: "lease-lost" | "already-committed" | null;
}

const cases: readonly Case[] = [
  { label: "reply-complete", thaw: "during", refusal: "lease-lost" },
  { label: "reply-complete", thaw: "after", refusal: "already-committed" },
  { label: "in-reply", thaw: "after", refusal: null },
];

test(
  "a worker that sleeps past its lease changes nothing",
  patience(cases.length),
  async ({ task }) => {
    const scene = await Scene.open({ workers: 2 });
    const recorder = new Recorder();
    try {
      for (let round = 0; round < rounds(cases.length); round++) {
        await freezeOnce(scene, cases[round % cases.length]!, recorder);
      }
      await check(scene);
    } finally {
      for (const worker of scene.workers) worker.signal("SIGCONT");
      await scene.close();
    }
    recorder.save(task);
  },
);

async function freezeOnce(scene: Scene, { label, thaw, refusal }: Case, recorder: Recorder) {
  const { workers } = scene;
  const fenceBefore = await scene.fence();
  for (const worker of workers) await scene.arm(worker, label, { kind: "stop" });
  const said = scene.say(`asked while they freeze [words=30] [ms=60]`);
  await scene.until(() => workers.some(isStopped), "a frozen worker");
  const frozen = workers.find(isStopped)!;
  for (const worker of workers) if (worker !== frozen) await scene.disarm(worker, label);
  const waitedMs = await scene.until(
    async () => (await scene.fence()) > fenceBefore + 1,
    "another worker's claim",
  );
  recorder.add("worker frozen: claimed by another", 4_500, waitedMs);
  if (thaw === "after") {
    await scene.until(async () => (await scene.record(said)) !== null, "the other one's record");
  }
  const refusals = refusal === null ? 0 : scene.refusals(refusal);
  const fenceOfOther = await scene.fence();
  frozen.signal("SIGCONT");
  if (refusal !== null) {
    await scene.until(() => scene.refusals(refusal) > refusals, `a commit refused: ${refusal}`);
  }
  await scene.until(async () => (await scene.record(said)) !== null, "the record");
  // It answers again, so it has long given up what it held.
  await fetch(`http://127.0.0.1:${await frozen.ready()}/live`);
  expect((await scene.record(said))?.fence).toBe(fenceOfOther);
}

function isStopped({ pid }: Process): boolean {
  return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}
