/**
 * A few seconds of every workload on real processes. Only counts are looked at: how fast it is, is for
 * `eyrie bench platform` on a quiet machine to say.
 */
import { describe, expect, test } from "vitest";
import { workloadNames } from "#apps/cli/bench/platform.ts";
import { runWorkload } from "./bench.ts";

/** Six processes start and stop; a busy machine takes its time. */
const patienceMs = 180_000;
const minutes = 0.05;

describe.each(workloadNames)("%s", (workload) => {
  test(
    "every question is answered, with the words of the script",
    async () => {
      const figures = await runWorkload({ workload, minutes, seed: 1 }, { replyTokens: 8 });
      expect(figures.levels.length).toBeGreaterThan(0);
      for (const level of figures.levels) {
        expect(level.answered).toBe(level.asked);
        expect(level.wrong).toBe(0);
      }
    },
    patienceMs,
  );
});
