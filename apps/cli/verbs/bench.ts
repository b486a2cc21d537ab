/**
 * `eyrie bench engine`: how fast the engines are on this machine, against what its memory allows.
 *
 * For people a table and a drawing, for programs one JSON object; `--history` adds it as a line to a
 * file. Ctrl-C ends it without figures and leaves nothing behind.
 */
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "#infra/config/config.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { physicalCores } from "#infra/process/cores.ts";
import { exitWithParent } from "#infra/setup/parent.ts";
import type { BlockSize, Quantise } from "#kernels/model/quantise/layout.ts";
import {
  benchEngines,
  type BenchResult,
  type EngineRow,
  type EngineSpec,
} from "../bench/engines.ts";
import { type Bar, barsSvg } from "../bench/plot.ts";
import { type Circumstances, circumstances, figure, refuseUnwritable } from "../bench/report.ts";
import type { ShapeName } from "../bench/shapes.ts";
import { bytes, columns } from "../output.ts";
import { ProgressBar } from "../progress.ts";
import { askedToStop } from "../stop.ts";

const interrupted = 130;

export interface BenchEngineOptions {
  readonly backend: readonly string[];
  readonly shape: readonly ShapeName[];
  readonly quantise: readonly Quantise[];
  readonly block: readonly BlockSize[];
  readonly batch: readonly number[];
  readonly prefill: number;
  readonly rounds: number;
  readonly threads?: number;
  readonly json?: true;
  readonly plot?: string;
  readonly history?: string;
}

interface Report extends BenchResult, Circumstances {
  readonly bench: "engine";
  readonly threads: number;
}

export async function engine(options: BenchEngineOptions): Promise<void> {
  exitWithParent();
  const config = loadConfig(process.env);
  const translator = await loadTranslator();
  const text = (key: string, values: Readonly<Record<string, string>>): string =>
    translator.text(config.EYRIE_LOCALE, `terminal:${key}`, values);
  const asked = askedToStop();
  const threads = options.threads ?? physicalCores();
  const plot = options.plot ?? join(config.EYRIE_HOME, "bench-engine.svg");
  // Now, and not when the figures are there to be lost.
  if (options.plot !== undefined || options.json !== true) refuseUnwritable(plot);
  if (options.history !== undefined) refuseUnwritable(options.history);
  let bar: ProgressBar | undefined;
  let result: BenchResult;
  try {
    result = await benchEngines({
      specs: specsOf(options),
      batches: options.batch,
      prefillTokens: options.prefill,
      rounds: options.rounds,
      threads,
      signal: asked,
      onSkip: (spec, needed) => {
        const line = text("bench.skipped", { engine: nameOf(spec), needed: bytes(needed) });
        process.stderr.write(`${line}\n`);
      },
      onProgress: (done, total) => {
        bar ??= new ProgressBar("bench", total, {
          timeLeft: (time) => text("pull.left", { time }),
          amount: String,
        });
        bar.update(done);
      },
    });
  } catch (error) {
    if (!asked.aborted) throw error;
    process.exitCode = interrupted;
    return;
  } finally {
    bar?.clear();
  }
  const report: Report = { bench: "engine", ...circumstances(), threads, ...result };
  if (options.history !== undefined) appendFileSync(options.history, `${JSON.stringify(report)}\n`);
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(report, null, 1)}\n`);
    if (options.plot !== undefined) writeFileSync(plot, drawing(report));
    return;
  }
  process.stdout.write(describe(report));
  writeFileSync(plot, drawing(report));
  process.stdout.write(`${text("bench.plot", { path: plot })}\n`);
}

function specsOf({ backend, shape, quantise, block }: BenchEngineOptions): EngineSpec[] {
  return shape.flatMap((one) =>
    backend.flatMap((name) =>
      quantise.flatMap((kind): EngineSpec[] => {
        const spec = { backend: name, shape: one, quantise: kind };
        if (kind === "none") return [{ ...spec, block: null }];
        return block.map((size) => ({ ...spec, block: size }));
      }),
    ),
  );
}

function describe({ readBytesPerSecond, threads, rows, engines }: Report): string {
  const head = ["engine", "mode", "batch", "tokens/s", "ms p10", "ms median", "MB/token", "GB/s"];
  const lines = rows.map((row) => [
    nameOf(row),
    row.mode === "prefill" ? `prefill ${row.tokens}` : row.mode,
    String(row.batch),
    figure(row.tokensPerSecond),
    figure(row.p10Ms),
    figure(row.medianMs),
    figure(row.bytesPerToken / 1e6),
    figure(row.bandwidthBytesPerSecond / 1e9),
    row.mode === "decode" ? `${(100 * row.share).toFixed(0)} %` : "–",
    bytes(row.residentBytes),
  ]);
  const opened = engines.map((facts) => [
    nameOf(facts),
    `${facts.openSeconds.toFixed(1)} s`,
    facts.openPeakBytes === null ? "–" : bytes(facts.openPeakBytes),
    facts.numericClass,
  ]);
  return [
    columns([[...head, "of bandwidth", "resident"], ...lines]),
    columns([["engine", "opens in", "at most", "numeric class"], ...opened]),
    `memory is read at ${figure(readBytesPerSecond / 1e9)} GB/s by ${threads} threads\n`,
  ].join("\n");
}

function nameOf({ backend, shape, quantise, block }: EngineSpec): string {
  return [shape, backend, quantise, ...(block === null ? [] : [`b${block}`])].join(" ");
}

const colours: Readonly<Record<Quantise, string>> = {
  none: "#64748b",
  q8: "#2563eb",
  q4: "#16a34a",
};

function barOf(row: EngineRow, value: number, told: string): Bar {
  return { name: nameOf(row), value, told, colour: colours[row.quantise] };
}

/** Decoding one stream against the memory's speed, then what company and prompts gain over it. */
function drawing({ rows, machine, readBytesPerSecond }: Report): string {
  const alone = rows.filter(({ mode, batch }) => mode === "decode" && batch === 1);
  const gains = rows.flatMap((row) => {
    const one = alone.find((other) => nameOf(other) === nameOf(row));
    if (one === undefined || one === row) return [];
    const gain = row.tokensPerSecond / one.tokensPerSecond;
    const what = row.mode === "prefill" ? `prompt of ${row.tokens}` : `${row.batch} streams`;
    return [
      barOf(row, gain, `${what}: ${gain.toFixed(1)} × (${figure(row.tokensPerSecond)} tokens/s)`),
    ];
  });
  return barsSvg({
    title: `Engines on ${machine}`,
    parts: [
      {
        title: `One stream: share of the ${figure(readBytesPerSecond / 1e9)} GB/s that memory gives`,
        limit: 1,
        bars: alone.map((row) =>
          barOf(
            row,
            row.share,
            `${(100 * row.share).toFixed(0)} %, ${figure(row.tokensPerSecond)} tokens/s`,
          ),
        ),
      },
      { title: "Tokens/s of many, in those of one stream", bars: gains },
    ].filter(({ bars }) => bars.length > 0),
  });
}
