/**
 * `npm run faults [-- PATTERN…] [-- --rounds N] [--json]`: breaks the platform in every way of
 * reference/reliability.md §3, and tells how long each fault was felt beside its bound.
 *
 * Exit code 1 when anything was lost, doubled or mixed up. A time beyond its bound is marked: on a
 * busy machine it says little. With more than one round the outcome is kept in test/results.
 */
import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { exitWithParent } from "#infra/setup/parent.ts";
import { run } from "../run/command.ts";
import { type Outcome, readReport, summaryLine } from "../run/outcome.ts";
import { redisOnPath } from "../run/redis.ts";
import { writeResults } from "../run/results.ts";
import { type FaultFigures, figuresSchema } from "./figures.ts";

exitWithParent();

const root = resolve(import.meta.dirname, "../..");
const reportPath = join(root, "test", "results", "tmp", "faults.json");

const { values, positionals } = parseArgs({
  options: { rounds: { type: "string", default: "1" }, json: { type: "boolean", default: false } },
  allowPositionals: true,
});
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) {
  console.error("--rounds takes a whole number of at least 1");
  process.exit(2);
}

process.env["PATH"] = await redisOnPath(root);
const startedMs = Date.now();
const outcome = await runVitest();
const figures = outcome.tests.flatMap((test) =>
  z.array(figuresSchema).catch([]).parse(test.figures),
);
if (values.json) console.log(JSON.stringify({ rounds, ...counts(outcome), figures }));
else console.log(`\n${table(figures)}\n\n${summaryLine(outcome)}`);
if (rounds > 1) {
  const kept = { ...outcome, startedMs, endedMs: Date.now() };
  await writeResults(root, kept, { kind: "faults", quiet: values.json });
}
process.exitCode = outcome.failed === 0 ? 0 : 1;

async function runVitest(): Promise<Outcome> {
  await rm(reportPath, { force: true });
  const patterns = positionals.length === 0 ? [""] : positionals;
  const files = patterns.map((pattern) => join("test", "faults", pattern));
  const report = ["--reporter=json", `--outputFile.json=${reportPath}`];
  const { code, output } = await run(
    ["vitest", "run", ...(values.json ? [] : ["--reporter=default"]), ...report, ...files],
    { cwd: root, show: !values.json, env: { EYRIE_FAULT_ROUNDS: String(rounds) } },
  );
  if (values.json && code !== 0) process.stderr.write(output);
  return readReport(reportPath, code);
}

function counts({ passed, failed, skipped }: Outcome) {
  return { passed, failed, skipped };
}

function table(rows: readonly FaultFigures[]): string {
  const lines = rows.map(({ fault, rounds: times, p50, p99, bound }) => [
    fault,
    String(times),
    `${p50} ms`,
    `${p99} ms`,
    `${bound} ms`,
    p99 > bound ? "beyond" : "",
  ]);
  const all = [["fault", "rounds", "p50", "p99", "bound", ""], ...lines];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((line) => line[column]!.length)));
  return all
    .map((line) =>
      line
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
