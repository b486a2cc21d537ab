/**
 * Runs the tests of the whole house: `node test/run.mjs [--long] [PATTERN…]`.
 *
 * Without a pattern: types, lint and format first, each counted as one test, then vitest. With a
 * pattern only the test files whose path contains it; arguments that begin with a dash go to vitest.
 * The last line is always `N passed, N failed`, with `, N skipped` when something was; the exit
 * code is 1 when anything failed. `--long` adds test/long and leaves the outcome in test/results.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { exitWithParent } from "#infra/setup/parent.ts";
import { checks } from "./checks.ts";
import { run } from "./command.ts";
import { type Outcome, addUp, readReport, summaryLine } from "./outcome.ts";
import { redisOnPath } from "./redis.ts";
import { writeResults } from "./results.ts";

exitWithParent();

const root = join(import.meta.dirname, "..", "..");
const reportPath = join(root, "test", "results", "tmp", "vitest.json");
const args = process.argv.slice(2);
const long = args.includes("--long");
const patterns = args.filter((arg) => arg !== "--long");

process.env["PATH"] = await redisOnPath(root);
const startedMs = Date.now();
const outcomes = patterns.length === 0 ? await runChecks() : [];
outcomes.push(await runVitest());
const total = addUp(outcomes);
if (long) await writeResults(root, { ...total, startedMs, endedMs: Date.now() });
process.exitCode = total.failed === 0 ? 0 : 1;
console.log(`\n${summaryLine(total)}`);

async function runChecks(): Promise<Outcome[]> {
  const results: Outcome[] = [];
  for (const { name, command } of checks) {
    const began = Date.now();
    const { code, output } = await run(command, { cwd: root });
    const durationMs = Date.now() - began;
    const mark = code === 0 ? "✓" : "✗";
    console.log(` ${mark} ${name} (${command.join(" ")}) ${(durationMs / 1000).toFixed(1)} s`);
    if (code !== 0) console.log(stripVTControlCharacters(output).trimEnd());
    const state = code === 0 ? "passed" : "failed";
    results.push(addUp([], [{ name: `check: ${name}`, state, durationMs, figures: undefined }]));
  }
  return results;
}

async function runVitest(): Promise<Outcome> {
  await rm(reportPath, { force: true });
  const command = ["vitest", "run", "--reporter=default", "--reporter=json", ...patterns];
  const { code } = await run([...command, `--outputFile.json=${reportPath}`], {
    cwd: root,
    show: true,
    env: long ? { EYRIE_TEST_LONG: "1" } : {},
  });
  return readReport(reportPath, code);
}
