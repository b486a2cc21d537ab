/** Runs many seeds, as many at once as there are threads, and adds up what they say. */
import { Worker } from "node:worker_threads";
import { tally, type Tally, type Violation } from "../invariants/violation.ts";
import type { ThreadOptions, ThreadReply } from "./thread.ts";

/** Short-lived objects are most of it: a bigger nursery is collected less often, MiB. */
const youngMib = 64;
/** Processes that were killed in it leave promises which nobody will keep: 4 MiB a seed. */
const seedsPerThread = 100;

export interface SeedsOptions extends ThreadOptions {
  readonly firstSeed: number;
  readonly seeds: number;
  readonly threads: number;
  /** Ends with the first seed that fails. */
  readonly untilFailure: boolean;
  readonly onSeed?: (done: number, failure: Failure | null) => void;
  readonly onTrace?: (line: string) => void;
}

export interface Failure {
  readonly seed: number;
  readonly violations: readonly Violation[];
}

export interface Summary extends Tally {
  readonly seeds: number;
  readonly turns: number;
}

export interface Outcome {
  readonly summary: Summary;
  readonly failures: readonly Failure[];
  readonly virtualMs: number;
}

export async function runSeeds(options: SeedsOptions): Promise<Outcome> {
  const { breakName, firstSeed, seeds, threads, trace, turns } = options;
  let next = firstSeed;
  let done = 0;
  let said = 0;
  let virtualMs = 0;
  const failures: Failure[] = [];
  const more = (): boolean =>
    next < firstSeed + seeds && !(options.untilFailure && failures.length > 0);

  async function work(): Promise<void> {
    while (more()) await workFor();
  }

  async function workFor(): Promise<void> {
    const thread = new Worker(new URL("thread.ts", import.meta.url), {
      workerData: { breakName, trace, turns } satisfies ThreadOptions,
      resourceLimits: { maxYoungGenerationSizeMb: youngMib },
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let given = 0;
    const give = (): void => {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
      if (more() && given++ < seedsPerThread) thread.postMessage(next++);
      else resolve();
    };
    thread.on("error", reject);
    thread.on("message", (reply: ThreadReply) => {
      if (reply.kind === "trace") return options.onTrace?.(reply.line);
      if (reply.kind === "ready") return give();
      const failure = failureOf(reply);
      done++;
      if (failure !== null) failures.push(failure);
      if (reply.kind === "result") {
        said += reply.result.turns;
        virtualMs += reply.result.virtualMs;
      }
      options.onSeed?.(done, failure);
      give();
    });
    try {
      await promise;
    } finally {
      await thread.terminate();
    }
  }

  await Promise.all(Array.from({ length: threads }, work));
  failures.sort((a, b) => a.seed - b.seed);
  const counts = tally(failures.flatMap(({ violations }) => violations));
  return { summary: { seeds: done, turns: said, ...counts }, failures, virtualMs };
}

function failureOf(reply: Exclude<ThreadReply, { kind: "ready" | "trace" }>): Failure | null {
  if (reply.kind === "failed") {
    const what = `the simulation itself ended: ${reply.reason}`;
    return { seed: reply.seed, violations: [{ kind: "unfinished", what }] };
  }
  const { seed, violations } = reply.result;
  return violations.length === 0 ? null : { seed, violations };
}
