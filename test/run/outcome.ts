/** Counts what passed, failed and was skipped, and reads vitest's report into that form. */
import { readFile } from "node:fs/promises";
import { z } from "zod";

export interface TestResult {
  readonly name: string;
  readonly state: "passed" | "failed" | "skipped";
  readonly durationMs: number;
  /** What the test measured, from `task.meta.figures`. */
  readonly figures: unknown;
}

export interface Outcome {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly tests: readonly TestResult[];
}

export function addUp(outcomes: readonly Outcome[], more: readonly TestResult[] = []): Outcome {
  const tests = [...outcomes.flatMap((outcome) => outcome.tests), ...more];
  const count = (state: TestResult["state"]) => tests.filter((t) => t.state === state).length;
  return { passed: count("passed"), failed: count("failed"), skipped: count("skipped"), tests };
}

export function summaryLine({ passed, failed, skipped }: Outcome): string {
  const text = `${passed} passed, ${failed} failed`;
  return skipped > 0 ? `${text}, ${skipped} skipped` : text;
}

const reportSchema = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      assertionResults: z.array(
        z.object({
          fullName: z.string(),
          status: z.string(),
          duration: z.number().nullish(),
          meta: z.object({ figures: z.unknown() }).partial().nullish(),
        }),
      ),
    }),
  ),
});

/**
 * A file that cannot be loaded, an error outside of every test, and a run that ended without a
 * report each count as one failed test: they must never look like success.
 */
export async function readReport(path: string, exitCode: number): Promise<Outcome> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return addUp([], [failure("vitest ended without a report")]);
  const files = reportSchema.parse(JSON.parse(text)).testResults;
  const tests = files.flatMap((file) => {
    const results = file.assertionResults.map(resultOf);
    const unexplained = file.status === "failed" && !results.some((t) => t.state === "failed");
    return unexplained ? [...results, failure(`${file.name}: could not be run`)] : results;
  });
  if (exitCode !== 0 && !tests.some((t) => t.state === "failed")) {
    tests.push(failure(`vitest ended with code ${exitCode}`));
  }
  return addUp([], tests);
}

type Assertion = z.infer<typeof reportSchema>["testResults"][number]["assertionResults"][number];

function resultOf({ fullName, status, duration, meta }: Assertion): TestResult {
  const known = status === "passed" || status === "failed" ? status : "skipped";
  return { name: fullName, state: known, durationMs: duration ?? 0, figures: meta?.figures };
}

function failure(name: string): TestResult {
  return { name, state: "failed", durationMs: 0, figures: undefined };
}
