/**
 * Speed of the onnx backend beside what this machine's memory allows, measured in the same run.
 * Run: `node test/bench/onnx.ts [eaglet] [0.4b]`. Prints a table, then one line of JSON.
 *
 * Each step must read all matrices once (fp32) and read and write the states of its rows; the share is
 * those bytes per second over the read bandwidth of all threads together. A share above 1 means that
 * the weights fit a cache. Times are p10 and median: the first tells the machine's speed, the second
 * how busy it was.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import type { Backend, PlanRow } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { stateLength } from "#kernels/model/config.ts";
import { type RandomModelShape, writeRandomModel } from "#kernels/model/random-model.ts";

const shapes: Readonly<Record<string, RandomModelShape>> = {
  eaglet: { layers: 6, heads: 4, headSize: 64, ffnWidth: 896, vocabSize: 4096 },
  "0.4b": { layers: 24, heads: 16, headSize: 64, ffnWidth: 3584, vocabSize: 65_536 },
};
const prefillTokens = 256;
const decodeRows = [1, 8, 16];
const budgetMsPerCase = 6000;
const samplesMin = 5;
const samplesMax = 400;
const warmUpSteps = 3;

interface Figure {
  readonly shape: string;
  readonly what: string;
  readonly p10Ms: number;
  readonly medianMs: number;
  readonly tokensPerSecond: number;
  readonly bandwidthShare: number;
}

async function benchShape(name: string, bytesPerSecond: number): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), "eyrie-bench-"));
  try {
    writeRandomModel(directory, shapes[name]!, { seed: 1, dtype: "F16" });
    const started = performance.now();
    const limits = { slots: Math.max(...decodeRows), threads: availableParallelism() };
    const backend = await openOnnx(directory, limits);
    const openMs = performance.now() - started;
    const figures: Figure[] = [];
    const cases = [
      ...decodeRows.map((rows) => ({ what: `decode B=${rows}`, rows, length: 1 })),
      { what: `prefill ${prefillTokens}`, rows: 1, length: prefillTokens },
    ];
    for (const { what, rows, length } of cases) {
      const times = await timeSteps(backend, rows, length);
      const p10Ms = times[Math.floor(times.length / 10)]!;
      const medianMs = times[times.length >> 1]!;
      const tokensPerSecond = (1000 * rows * length) / p10Ms;
      const bandwidthShare = bytesPerStep(backend, rows) / (p10Ms / 1000) / bytesPerSecond;
      figures.push({ shape: name, what, p10Ms, medianMs, tokensPerSecond, bandwidthShare });
    }
    backend.close();
    const rssMb = process.memoryUsage.rss() / 1e6;
    console.log(`${name}: opened in ${openMs.toFixed(0)} ms, ${rssMb.toFixed(0)} MB resident`);
    return figures;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Sorted milliseconds of steps whose rows want their last logits. */
async function timeSteps(backend: Backend, rows: number, length: number): Promise<number[]> {
  const { vocabSize } = backend.config;
  const times: number[] = [];
  let spentMs = 0;
  for (let step = 0; step < samplesMax; step++) {
    if (times.length >= samplesMin && spentMs > budgetMsPerCase) break;
    const planned = Array.from({ length: rows }, (_, slot): PlanRow => {
      const tokens = Array.from({ length }, (__, t) => (step * 31 + slot * 7 + t) % vocabSize);
      return { slot, tokens, want: "last" };
    });
    const started = performance.now();
    await backend.step({ rows: planned });
    const elapsedMs = performance.now() - started;
    if (step < warmUpSteps) continue;
    times.push(elapsedMs);
    spentMs += elapsedMs;
  }
  return times.sort((a, b) => a - b);
}

function bytesPerStep({ config }: Backend, rows: number): number {
  const { layers, width, ffnWidth, vocabSize } = config;
  const matrices = layers * (6 * width + 2 * ffnWidth) * width + vocabSize * width;
  return 4 * (matrices + 2 * rows * stateLength(config));
}

/** Every thread searches memory of its own, far larger than a cache, for a byte that is not there. */
async function readBandwidth(): Promise<number> {
  const workers = Array.from(
    { length: availableParallelism() },
    () => new Worker(new URL(import.meta.url)),
  );
  const speeds = await Promise.all(
    workers.map(
      (worker) =>
        new Promise<number>((resolve, reject) => {
          worker.once("message", resolve);
          worker.once("error", reject);
        }),
    ),
  );
  return speeds.reduce((sum, speed) => sum + speed, 0);
}

/** Bytes per second of this thread: the best of many passes, the threads running side by side. */
function scanMemory(): number {
  const memory = Buffer.alloc(256 << 20, 1);
  let best = 0;
  for (let pass = 0; pass < 30; pass++) {
    const started = performance.now();
    memory.indexOf(2);
    best = Math.max(best, memory.length / ((performance.now() - started) / 1000));
  }
  return best;
}

async function main(): Promise<void> {
  const asked = process.argv.slice(2);
  const names = asked.length === 0 ? Object.keys(shapes) : asked;
  const unknown = names.find((name) => shapes[name] === undefined);
  if (unknown !== undefined)
    throw new Error(`no shape ${unknown}: ${Object.keys(shapes).join(", ")}`);

  const bytesPerSecond = await readBandwidth();
  const figures: Figure[] = [];
  for (const name of names) figures.push(...(await benchShape(name, bytesPerSecond)));
  const machine = { cpu: cpus()[0]?.model, threads: availableParallelism(), bytesPerSecond };
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8" }).trim();
  console.log(
    `memory: ${(bytesPerSecond / 1e9).toFixed(1)} GB/s read by ${machine.threads} threads`,
  );
  console.table(
    figures.map(({ shape, what, p10Ms, medianMs, tokensPerSecond, bandwidthShare }) => ({
      shape,
      what,
      "p10 ms": p10Ms.toFixed(2),
      "median ms": medianMs.toFixed(2),
      "tokens/s": tokensPerSecond.toFixed(0),
      "of bandwidth": `${(bandwidthShare * 100).toFixed(0)} %`,
    })),
  );
  console.log(JSON.stringify({ bench: "onnx", commit, machine, figures }));
}

if (isMainThread) await main();
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
else parentPort!.postMessage(scanMemory());
