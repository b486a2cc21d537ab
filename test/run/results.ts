/** Leaves the outcome of a long run in test/results, with what is needed to compare it with others. */
import { mkdir, writeFile } from "node:fs/promises";
import { arch, availableParallelism, cpus, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";
import type { Outcome } from "./outcome.ts";

export interface LongRun extends Outcome {
  readonly startedMs: number;
  readonly endedMs: number;
}

export interface ResultFile {
  /** First word of its name. */
  readonly kind: "long" | "faults" | "soak";
  readonly quiet?: boolean;
}

export async function writeResults(
  root: string,
  outcome: LongRun,
  { kind, quiet = false }: ResultFile = { kind: "long" },
): Promise<void> {
  const git = async (...args: string[]) =>
    (await run(["git", ...args], { cwd: root })).output.trim();
  const commit = await git("rev-parse", "HEAD");
  const startedAt = new Date(outcome.startedMs).toISOString();
  const result = {
    commit,
    /** True when the tree differed from that commit. */
    changed: (await git("status", "--porcelain")) !== "",
    startedAt,
    durationSeconds: Math.round((outcome.endedMs - outcome.startedMs) / 1000),
    machine: {
      processor: cpus()[0]?.model ?? "unknown",
      cores: availableParallelism(),
      memoryGib: Math.round(totalmem() / 2 ** 30),
      system: `${platform()} ${release()} ${arch()}`,
      node: process.version,
    },
    passed: outcome.passed,
    failed: outcome.failed,
    skipped: outcome.skipped,
    tests: outcome.tests.map((test) => ({
      ...test,
      name: test.name.replace(root, "."),
      durationMs: Math.round(test.durationMs),
    })),
  };
  const folder = join(root, "test", "results");
  await mkdir(folder, { recursive: true });
  const name = `${kind}-${startedAt.slice(0, 10)}-${commit.slice(0, 8)}.json`;
  await writeFile(join(folder, name), `${JSON.stringify(result, undefined, 2)}\n`);
  if (!quiet) console.log(`results: test/results/${name}`);
}
