/**
 * A program: runs one workload when it is asked to, for `eyrie bench platform`. SIGTERM ends it with
 * all that it has started.
 */
import { answerQuestions } from "#apps/cli/bench/child.ts";
import type { BenchQuestion, WorkloadFigures } from "#apps/cli/bench/platform.ts";
import { runWorkload } from "./bench.ts";

const asked = new AbortController();
let running = false;
process.on("SIGTERM", () => {
  asked.abort();
  if (!running) process.exit();
});

answerQuestions<WorkloadFigures>(async (question: BenchQuestion) => {
  running = true;
  try {
    return await runWorkload(question, { signal: asked.signal });
  } finally {
    running = false;
    if (asked.signal.aborted) setImmediate(() => process.exit());
  }
});
