/**
 * What `eyrie bench engine` does not show of the onnx engine: where a prompt is best cut, pauses of the
 * garbage collector, the first token of a message, and loading.
 * Run: `node eyrie.mjs --run test/bench/step.ts [chunks] [pauses] [first-token] [load]`, each alone when
 * no name is given; on a quiet machine. Prints tables, then one line of JSON.
 *
 * Weights are random and made on the fly. Loading is measured in a process that does nothing else, with
 * the file in the system's cache.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { PerformanceObserver } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { physicalCores } from "#infra/process/cores.ts";
import type { Backend, PlanRow } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { Engine } from "#apps/worker/engine/engine.ts";

const shape15 = { layers: 24, heads: 32, headSize: 64, ffnWidth: 7168, vocabSize: 65_536 };
const shape7 = { layers: 32, heads: 64, headSize: 64, ffnWidth: 14_336, vocabSize: 65_536 };
const eaglet = resolve(import.meta.dirname, "../../kernels/models/eaglet");
const threads = physicalCores();
const seconds = 20;
/** First word on the command line of the process that loads. */
const loadIn = "load-in";

type Figures = Readonly<Record<string, number | string>>;
const parts: Readonly<Record<string, () => Promise<Figures[]>>> = {
  chunks: () => withModel(shape15, chunks),
  pauses: () => withModel(shape15, pauses),
  "first-token": firstToken,
  load: () => withModel(shape7, load),
};

async function withModel<T>(
  shape: typeof shape15,
  use: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "eyrie-bench-"));
  try {
    writeRandomModel(directory, shape, { seed: 1, quantise: "q4" });
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** 256 tokens of one row in pieces of each length, beside decoding alone; lengths take turns. */
async function chunks(directory: string): Promise<Figures[]> {
  const backend = await openOnnx(directory, { slots: 1, threads });
  const lengths = [1, 8, 16, 32, 64, 128, 256];
  const samples = new Map(lengths.map((length) => [length, [] as number[]] as const));
  const until = performance.now() + 3 * seconds * 1000;
  for (let turn = 0; turn < 3 || performance.now() < until; turn++) {
    for (const [length, times] of samples) {
      const tokens = tokensFrom(turn, length);
      const ms = await timed(() => backend.step({ rows: [{ slot: 0, tokens, want: "last" }] }));
      if (turn > 0) times.push(ms);
    }
  }
  backend.close();
  return lengths.map((length) => {
    const ms = quantile(samples.get(length)!, 0.1);
    return { chunk: length, p10Ms: round(ms), tokensPerSecond: round((1000 * length) / ms) };
  });
}

/** Pauses of the collector while eight rows decode, their logits handed out each time. */
async function pauses(directory: string): Promise<Figures[]> {
  const backend = await openOnnx(directory, { slots: 8, threads });
  const found: number[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) found.push(entry.duration);
  });
  await decode(backend, { rows: 8, from: 0, steps: 3 });
  observer.observe({ entryTypes: ["gc"] });
  const steps: number[] = [];
  const until = performance.now() + 2 * seconds * 1000;
  for (let step = 3; performance.now() < until; step++) {
    steps.push(await timed(() => decode(backend, { rows: 8, from: step, steps: 1 })));
  }
  await new Promise((done) => setTimeout(done, 50));
  observer.disconnect();
  backend.close();
  return [
    {
      steps: steps.length,
      stepP10Ms: round(quantile(steps, 0.1)),
      pauses: found.length,
      pauseP99Ms: round(quantile(found, 0.99)),
      pauseMaxMs: round(Math.max(0, ...found)),
    },
  ];
}

/** A message of 20 tokens to the engine thread of a worker, until its first token is drawn. */
async function firstToken(): Promise<Figures[]> {
  const engine = await Engine.open({
    modelDirectory: eaglet,
    backend: "onnx",
    stateCodec: "int8",
    slots: 1,
    threads,
  });
  const sample = { seed: "bench", draw: 0, temperature: 0.7, topP: 0.3 };
  const plain = { presencePenalty: 0, frequencyPenalty: 0, penaltyDecay: 1 };
  const times: number[] = [];
  const until = performance.now() + 0.5 * seconds * 1000;
  for (let message = 0; performance.now() < until; message++) {
    await engine.writeState(0, null);
    const tokens = tokensFrom(message, 20).map((token) => token % engine.info.config.vocabSize);
    const row: PlanRow = { slot: 0, tokens, want: "none", sample: { ...sample, ...plain } };
    const ms = await timed(() => engine.step({ rows: [row] }));
    if (message > 3) times.push(ms);
  }
  await engine.close();
  return [
    {
      messages: times.length,
      p10Ms: round(quantile(times, 0.1)),
      p99Ms: round(quantile(times, 0.99)),
    },
  ];
}

/** In a process of its own, that has written no weights. */
function load(directory: string): Promise<Figures[]> {
  const script = fileURLToPath(import.meta.url);
  const stdout = execFileSync(process.execPath, [script, loadIn, directory], { encoding: "utf8" });
  return Promise.resolve([JSON.parse(stdout) as Figures]);
}

async function loadHere(directory: string): Promise<Figures> {
  const peak = new MemoryPeak();
  const startedMs = performance.now();
  const backend = await openOnnx(directory, { slots: 8, threads });
  const readyMs = performance.now() - startedMs;
  await decode(backend, { rows: 8, from: 0, steps: 3 });
  const figures = {
    readyS: round(readyMs / 1000),
    anonymousGiB: round(anonymousGiB()),
    residentPeakGiB: round(await peak.end()),
  };
  backend.close();
  return figures;
}

/** The most this process had resident, looked at by a thread while the main one is blocked. */
class MemoryPeak {
  readonly #thread = new Worker(
    `const { readFileSync } = require("node:fs");
     const { parentPort } = require("node:worker_threads");
     let most = 0;
     const look = () => {
       const kib = /VmRSS:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1];
       most = Math.max(most, kib / 2 ** 20);
     };
     const timer = setInterval(look, 5);
     parentPort.once("message", () => { look(); clearInterval(timer); parentPort.postMessage(most); });`,
    { eval: true },
  );

  end(): Promise<number> {
    const peak = new Promise<number>((done) => this.#thread.once("message", done));
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
    this.#thread.postMessage(null);
    return peak;
  }
}

function anonymousGiB(): number {
  const status = readFileSync("/proc/self/status", "utf8");
  return Number(/RssAnon:\s+(\d+)/.exec(status)![1]) / 2 ** 20;
}

async function decode(
  backend: Backend,
  { rows, from, steps }: { readonly rows: number; readonly from: number; readonly steps: number },
): Promise<void> {
  for (let step = from; step < from + steps; step++) {
    const planned = Array.from({ length: rows }, (_, slot): PlanRow => {
      return { slot, tokens: tokensFrom(step + 7 * slot, 1), want: "last" };
    });
    await backend.step({ rows: planned });
  }
}

function tokensFrom(start: number, length: number): number[] {
  return Array.from({ length }, (_, index) => (start * 31 + index * 17) % 60_000);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

const asked = process.argv.slice(2);
if (asked[0] === loadIn) console.log(JSON.stringify(await loadHere(asked[1]!)));
else await main(asked);

async function main(names: readonly string[]): Promise<void> {
  for (const name of names.length === 0 ? Object.keys(parts) : names) {
    const part = parts[name];
    if (part === undefined) throw new Error(`no part ${name}: ${Object.keys(parts).join(", ")}`);
    const figures = await part();
    console.table(figures);
    const machine = { cpu: cpus()[0]?.model, threads };
    console.log(JSON.stringify({ bench: `step ${name}`, machine, figures }));
  }
}
