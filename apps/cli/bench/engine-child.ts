/** A program: one backend on one model, stepped and timed when it is asked to, `engines.ts`. */
import { readFileSync } from "node:fs";
import type { Backend, PlanRow } from "#kernels/backends/contract.ts";
import { openBackend } from "../backend.ts";
import { answerQuestions } from "./child.ts";
import type { EngineAnswer, EngineQuestion } from "./engines.ts";

/** A sample of short steps has this many at most. */
const stepsMax = 200;

let backend: Backend | undefined;
/** So that no two steps feed the same tokens. */
let fed = 0;

answerQuestions<EngineAnswer>(async (question: EngineQuestion) => {
  switch (question.ask) {
    case "open": {
      const { name, directory, limits, quantise } = question;
      const startedMs = performance.now();
      backend = await openBackend(name, directory, { ...limits, quantise });
      const { numericClass, config } = backend;
      return { openMs: performance.now() - startedMs, numericClass, config };
    }
    case "sample":
      return { stepMs: await sample(backend!, question) };
    case "memory":
      return { residentBytes: anonymousBytes() };
  }
});

async function sample(
  { step, config }: { readonly step: Backend["step"]; readonly config: Backend["config"] },
  asked: Extract<EngineQuestion, { ask: "sample" }>,
): Promise<number[]> {
  const plan = () => ({
    rows: Array.from({ length: asked.rows }, (_, slot): PlanRow => {
      const tokens = Array.from({ length: asked.length }, () => (fed++ * 31) % config.vocabSize);
      return { slot, tokens, want: "last" };
    }),
  });
  // The first step of a company moves its states together, and is not measured.
  if (asked.length === 1) await step.call(backend, plan());
  const stepMs: number[] = [];
  const startedMs = performance.now();
  do {
    const planned = plan();
    const stepStartedMs = performance.now();
    await step.call(backend, planned);
    stepMs.push(performance.now() - stepStartedMs);
  } while (performance.now() - startedMs < asked.msMin && stepMs.length < stepsMax);
  return stepMs;
}

/** Memory of this process that no file stands behind; where the system does not tell, all of it. */
function anonymousBytes(): number {
  try {
    const [, kilobytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))!;
    return 1024 * Number(kilobytes);
  } catch {
    return process.memoryUsage.rss();
  }
}
