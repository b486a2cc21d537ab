/**
 * `eyrie bench platform`: what the platform costs around the model, under the loads that it was
 * planned for. Real processes and two real redis-servers; the model is a script that sleeps, Discord is
 * the double, and what those two cost is told apart (`test/bench/platform`).
 *
 * For people a table and a drawing, for programs one JSON object; `--history` adds it as a line to a
 * file. Exit code 1 when a goal was missed and `--strict` was asked for. Ctrl-C ends it without figures
 * and leaves nothing behind.
 */
import { appendFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { loadConfig } from "#infra/config/config.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { exitWithParent } from "#infra/setup/parent.ts";
import { BenchChild } from "../bench/child.ts";
import {
  type BenchQuestion,
  type LevelFigures,
  type Part,
  parts,
  type Quantiles,
  type Verdict,
  verdicts,
  type WorkloadFigures,
  type WorkloadName,
} from "../bench/platform.ts";
import { type Bar, barsSvg } from "../bench/plot.ts";
import { type Circumstances, circumstances, figure, refuseUnwritable } from "../bench/report.ts";
import { columns } from "../output.ts";
import { askedToStop } from "../stop.ts";

const interrupted = 130;
const program = "test/bench/platform/main.ts";

export interface BenchPlatformOptions {
  readonly workload: readonly WorkloadName[];
  readonly minutes?: number;
  readonly runs: number;
  readonly seed: number;
  readonly json?: true;
  readonly strict?: true;
  readonly plot?: string;
  readonly history?: string;
}

type Run = WorkloadFigures & { readonly verdicts: readonly Verdict[] };

interface Report extends Circumstances {
  readonly bench: "platform";
  readonly cores: number;
  readonly runs: readonly Run[];
}

export async function platform(options: BenchPlatformOptions): Promise<void> {
  exitWithParent();
  const config = loadConfig(process.env);
  const plot = options.plot ?? join(config.EYRIE_HOME, "bench-platform.svg");
  // Now, and not when the figures are there to be lost.
  if (options.plot !== undefined || options.json !== true) refuseUnwritable(plot);
  if (options.history !== undefined) refuseUnwritable(options.history);
  const runs = await runAll(options);
  if (runs === null) {
    process.exitCode = interrupted;
    return;
  }
  const cores = availableParallelism();
  const report: Report = { bench: "platform", ...circumstances(), cores, runs };
  if (options.history !== undefined) appendFileSync(options.history, `${JSON.stringify(report)}\n`);
  if (options.strict === true && runs.some((run) => run.verdicts.some(({ met }) => !met))) {
    process.exitCode = 1;
  }
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(report, null, 1)}\n`);
    if (options.plot !== undefined) writeFileSync(plot, drawing(report));
    return;
  }
  process.stdout.write(describe(report));
  writeFileSync(plot, drawing(report));
  const translator = await loadTranslator();
  const line = translator.text(config.EYRIE_LOCALE, "terminal:bench.plot", { path: plot });
  process.stdout.write(`${line}\n`);
}

/** One after the other, each with processes of its own; null when asked to stop. */
async function runAll({ workload, runs, ...options }: BenchPlatformOptions): Promise<Run[] | null> {
  const asked = askedToStop();
  const done: Run[] = [];
  for (const name of workload) {
    for (let run = 0; run < runs; run++) {
      const child = new BenchChild<BenchQuestion, WorkloadFigures>(program);
      const stop = (): void => void child.end("SIGTERM");
      asked.addEventListener("abort", stop, { once: true });
      const { minutes, seed } = options;
      try {
        const figures = await child.ask({ workload: name, minutes, seed: seed + run });
        done.push({ ...figures, verdicts: verdicts(figures) });
      } catch (error) {
        if (!asked.aborted) throw error;
        return null;
      } finally {
        asked.removeEventListener("abort", stop);
        await child.end("SIGTERM");
      }
    }
  }
  return done;
}

function describe({ machine, cores, runs }: Report): string {
  const levels = runs.flatMap((run) => run.levels.map((level) => ({ run, level })));
  const head = ["workload", "level", "turns/s", "tokens/s", "first word ms p50/p95/p99"];
  const more = ["final ms", "claimed ms p50/p99", "commit ms", "µs/token", "ms/turn", "late ms"];
  const lines = levels.map(({ run, level }) => [
    run.workload,
    level.name,
    figure(level.turnsPerSecond),
    figure(level.tokensPerSecond),
    spread(level.firstTextMs),
    spread(level.finalMs),
    `${level.claimedMs.p50 ?? "–"} / ${level.claimedMs.p99 ?? "–"}`,
    `${level.commitMs.p50 ?? "–"} / ${level.commitMs.p99 ?? "–"}`,
    figure(level.cpuUsPerToken),
    figure(level.cpuUsPerTurn / 1000),
    level.lateMs === null ? "–" : figure(level.lateMs.p99),
  ]);
  const cpu = levels.map(({ run, level }) => [
    run.workload,
    level.name,
    ...parts.map((part) => figure(level.cpu[part] / level.seconds)),
  ]);
  const goals = goalRows(runs);
  return [
    columns([[...head, ...more], ...lines]),
    columns([["CPU, in cores", "level", ...parts], ...cpu]),
    columns([["workload", "goal", "limit", "median", "worst", ""], ...goals]),
    `${cores} × ${machine}\n`,
  ].join("\n");
}

function spread(quantiles: Quantiles | null): string {
  if (quantiles === null) return "–";
  return [quantiles.p50, quantiles.p95, quantiles.p99].map(figure).join(" / ");
}

/** Of several runs of a workload the median and the worst. */
function goalRows(runs: readonly Run[]): string[][] {
  const names = [...new Set(runs.map(({ workload }) => workload))];
  return names.flatMap((name) => {
    const own = runs.filter(({ workload }) => workload === name);
    return (own[0]?.verdicts ?? []).map(({ goal, unit, atLeast, atMost }) => {
      const all = own.flatMap((run) => run.verdicts.filter((verdict) => verdict.goal === goal));
      // The worst last.
      const values = all
        .map(({ value }) => value)
        .sort((a, b) => (atLeast === undefined ? a - b : b - a));
      const limit = atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`;
      const met = all.every((verdict) => verdict.met);
      return [
        name,
        goal,
        `${limit} ${unit}`.trimEnd(),
        figure(values[(values.length - 1) >> 1] ?? NaN),
        figure(values.at(-1) ?? NaN),
        met ? "met" : "missed",
      ];
    });
  });
}

const colours: Readonly<Record<Part, string>> = {
  gateway: "#2563eb",
  worker: "#16a34a",
  truth: "#b45309",
  state: "#d97706",
  model: "#94a3b8",
  double: "#cbd5e1",
};

/** How long people waited, and who used the CPU meanwhile. */
function drawing({ machine, cores, runs }: Report): string {
  const levels = runs.flatMap((run) => {
    return run.levels.map((level) => ({ level, name: `${run.workload} ${level.name}` }));
  });
  const waits = levels.flatMap(({ name, level }): Bar[] => {
    const { finalMs: final, firstTextMs: first } = level;
    if (final === null || first === null) return [];
    const words = `p50 ${figure(final.p50)}, p99 ${figure(final.p99)} ms; ${rate(level)}`;
    return [{ name, value: final.p50, mark: final.p99, told: words, colour: "#2563eb" }];
  });
  const cpu = levels.map(({ name, level }) => {
    const perTurn = `${figure(level.cpuUsPerTurn / 1000)} ms a turn`;
    return {
      title: `${name}: ${figure(level.cpuUsPerToken)} µs a token, ${perTurn}`,
      bars: parts.map((part): Bar => {
        const value = level.cpu[part] / level.seconds;
        return { name: part, value, told: `${figure(value)} cores`, colour: colours[part] };
      }),
    };
  });
  const title = `The platform around a scripted model, ${cores} cores of ${machine}`;
  return barsSvg({
    title,
    parts: [
      { title: "From question to whole reply, ms", marks: "p99", bars: waits },
      ...cpu,
    ].filter(({ bars }) => bars.length > 0),
  });
}

function rate({ turnsPerSecond, tokensPerSecond }: LevelFigures): string {
  return `${figure(turnsPerSecond)} turns/s, ${figure(tokensPerSecond)} tokens/s`;
}
