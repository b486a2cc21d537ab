/**
 * Engines measured beside each other and beside this machine's memory, on random weights.
 *
 * Everything that fits into memory together is open at once, each engine in a process of its own, and
 * is asked in turn, round by round, with a sample of the read bandwidth in every round: what disturbs
 * the machine for a while disturbs all of them. A time is the p10 of its samples, the bandwidth the
 * p90, as both tell what the machine can do; with fewer than ten samples that is the best one.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import type { BackendLimits } from "#kernels/backends/contract.ts";
import { ModelError } from "#kernels/errors.ts";
import { loadConfig } from "#infra/config/config.ts";
import type { ModelConfig } from "#kernels/model/config.ts";
import { fileBytes, memoryNeeds } from "#kernels/model/memory.ts";
import { openModel, worldGroupNormEps } from "#kernels/model/model.ts";
import {
  type BlockSize,
  type Quantise,
  type Variant,
  variantName,
} from "#kernels/model/quantise/layout.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { ReadBandwidth } from "./bandwidth.ts";
import { BenchChild } from "./child.ts";
import { type ShapeName, worldShapes } from "./shapes.ts";

/** A sample goes on for so long, and is one step at least. */
const sampleMsMin = 250;
/** A case that has used this up and has enough samples sits the other rounds out. */
const caseMsMax = 60_000;
const samplesMin = 3;
/** While it opens, a backend may hold its weights nearly twice. */
const openingFactor = 1.9;
/** Of the memory that is free now; the rest is for the system and the scanners. */
const memoryShare = 0.85;
const peakPollMs = 20;

export type EngineQuestion =
  | {
      readonly ask: "open";
      readonly name: string;
      readonly directory: string;
      readonly limits: BackendLimits;
      readonly quantise: Quantise;
    }
  | {
      readonly ask: "sample";
      readonly rows: number;
      /** Tokens of each row. */
      readonly length: number;
      readonly msMin: number;
    }
  | { readonly ask: "memory" };

export interface EngineAnswer {
  readonly openMs?: number;
  readonly numericClass?: string;
  readonly config?: ModelConfig;
  readonly stepMs?: readonly number[];
  readonly residentBytes?: number;
}

export interface EngineSpec {
  readonly backend: string;
  readonly shape: ShapeName;
  readonly quantise: Quantise;
  /** Null for `none`. */
  readonly block: BlockSize | null;
}

export interface EngineRow extends EngineSpec {
  readonly mode: "decode" | "prefill";
  /** Streams in one step. */
  readonly batch: number;
  /** Of one stream in one step: 1 when decoding. */
  readonly tokens: number;
  readonly samples: number;
  readonly p10Ms: number;
  readonly medianMs: number;
  readonly tokensPerSecond: number;
  /** Of weights, read once a step and shared by its tokens; states and activations not counted. */
  readonly bytesPerToken: number;
  readonly bandwidthBytesPerSecond: number;
  /** Of the read bandwidth measured in the same rounds. */
  readonly share: number;
  /** Anonymous memory of the engine's process after all its steps. */
  readonly residentBytes: number;
}

export interface EngineFacts extends EngineSpec {
  readonly numericClass: string;
  readonly openSeconds: number;
  /** Largest anonymous memory while it opened; null where the system does not tell. */
  readonly openPeakBytes: number | null;
}

export interface BenchOptions {
  readonly specs: readonly EngineSpec[];
  readonly batches: readonly number[];
  /** 0: no prefill. */
  readonly prefillTokens: number;
  readonly rounds: number;
  readonly threads: number;
  readonly signal: AbortSignal;
  readonly onSkip: (spec: EngineSpec, neededBytes: number) => void;
  readonly onProgress: (done: number, total: number) => void;
}

export interface BenchResult {
  readonly readBytesPerSecond: number;
  readonly engines: readonly EngineFacts[];
  readonly rows: readonly EngineRow[];
}

interface Case {
  readonly mode: EngineRow["mode"];
  readonly batch: number;
  readonly tokens: number;
  readonly stepMs: number[];
  spentMs: number;
  samples: number;
}

interface OpenEngine {
  readonly spec: EngineSpec;
  readonly child: BenchChild<EngineQuestion, EngineAnswer>;
  readonly facts: EngineFacts;
  readonly weightsBytes: number;
  readonly cases: readonly Case[];
}

export async function benchEngines(options: BenchOptions): Promise<BenchResult> {
  const groups = await groupsThatFit(options);
  const casesEach = options.batches.length + (options.prefillTokens > 0 ? 1 : 0);
  const total = groups.flat().length * casesEach * (options.rounds + 1);
  let done = 0;
  const onSample = (): void => options.onProgress(++done, total);
  const engines: EngineFacts[] = [];
  const rows: EngineRow[] = [];
  const bandwidths: number[] = [];
  const bandwidth = new ReadBandwidth(options.threads);
  try {
    for (const group of groups) {
      const measured = await measureGroup(group, { ...options, bandwidth, onSample });
      engines.push(...measured.engines);
      rows.push(...measured.rows);
      bandwidths.push(measured.readBytesPerSecond);
    }
  } finally {
    await bandwidth.end();
  }
  return { readBytesPerSecond: Math.max(0, ...bandwidths), engines, rows };
}

async function measureGroup(
  group: readonly EngineSpec[],
  options: BenchOptions & { readonly bandwidth: ReadBandwidth; readonly onSample: () => void },
): Promise<BenchResult> {
  const directory = mkdtempSync(join(tmpdir(), "eyrie-bench-"));
  const open: OpenEngine[] = [];
  try {
    for (const spec of group) {
      options.signal.throwIfAborted();
      open.push(await openEngine(spec, directory, options));
    }
    const speeds: number[] = [];
    // The first round warms up and does not count.
    for (let round = 0; round <= options.rounds; round++) {
      speeds.push(await options.bandwidth.sample());
      // Another engine begins each round, so that none always follows the scan.
      const start = round % open.length;
      for (const engine of [...open.slice(start), ...open.slice(0, start)]) {
        for (const one of engine.cases) {
          options.signal.throwIfAborted();
          await sampleCase(engine, one, round > 0);
          options.onSample();
        }
      }
    }
    const readBytesPerSecond = -percentile10(speeds.map((speed) => -speed));
    const rows: EngineRow[] = [];
    for (const engine of open) rows.push(...(await rowsOf(engine, readBytesPerSecond)));
    return { readBytesPerSecond, engines: open.map(({ facts }) => facts), rows };
  } finally {
    await Promise.all(open.map(({ child }) => child.end()));
    rmSync(directory, { recursive: true, force: true });
  }
}

async function openEngine(
  spec: EngineSpec,
  parent: string,
  options: BenchOptions,
): Promise<OpenEngine> {
  const config = await configOf(spec.shape);
  const variant = variantOf(spec);
  const slots = Math.max(...options.batches);
  const directory = join(parent, `${spec.shape}-${variantName(variant)}`);
  await writeOnce(directory, config, variant);
  const child = new BenchChild<EngineQuestion, EngineAnswer>("apps/cli/bench/engine-child.ts");
  // A step may take minutes: who asks to stop does not wait for it.
  options.signal.addEventListener("abort", () => void child.end(), { once: true });
  const { backend: name, quantise } = spec;
  const limits = { slots, threads: options.threads };
  const peak = watchPeak(child.pid);
  try {
    const { openMs = 0, numericClass = "" } = await child.ask({
      ask: "open",
      name,
      directory,
      limits,
      quantise,
    });
    const opened = { numericClass, openSeconds: openMs / 1000, openPeakBytes: peak() };
    const cases = options.batches.map((batch) => newCase("decode", batch, 1));
    if (options.prefillTokens > 0) cases.push(newCase("prefill", 1, options.prefillTokens));
    const { weightsBytes } = memoryNeeds(config, variant, slots);
    return { spec, child, facts: { ...spec, ...opened }, weightsBytes, cases };
  } catch (error) {
    await child.end();
    throw error;
  } finally {
    peak();
  }
}

function newCase(mode: Case["mode"], batch: number, tokens: number): Case {
  return { mode, batch, tokens, stepMs: [], spentMs: 0, samples: 0 };
}

async function sampleCase({ child }: OpenEngine, one: Case, counts: boolean): Promise<void> {
  if (one.spentMs > caseMsMax && one.samples >= samplesMin) return;
  const startedMs = performance.now();
  const { batch: rows, tokens: length } = one;
  const { stepMs = [] } = await child.ask({ ask: "sample", rows, length, msMin: sampleMsMin });
  if (!counts) return;
  one.stepMs.push(...stepMs);
  one.samples++;
  one.spentMs += performance.now() - startedMs;
}

async function rowsOf(engine: OpenEngine, readBytesPerSecond: number): Promise<EngineRow[]> {
  const { spec, child, cases, weightsBytes } = engine;
  const { residentBytes = 0 } = await child.ask({ ask: "memory" });
  return cases.map(({ mode, batch, tokens, stepMs }) => {
    const sorted = stepMs.toSorted((a, b) => a - b);
    const p10Ms = percentile10(sorted);
    const tokensPerSecond = (1000 * batch * tokens) / p10Ms;
    const bandwidthBytesPerSecond = (1000 * weightsBytes) / p10Ms;
    return {
      ...spec,
      mode,
      batch,
      tokens,
      samples: sorted.length,
      p10Ms,
      medianMs: sorted[sorted.length >> 1] ?? 0,
      tokensPerSecond,
      bytesPerToken: weightsBytes / (batch * tokens),
      bandwidthBytesPerSecond,
      share: bandwidthBytesPerSecond / readBytesPerSecond,
      residentBytes,
    };
  });
}

async function writeOnce(
  directory: string,
  config: ModelConfig,
  variant: Variant | null,
): Promise<void> {
  const { bavail, bsize } = await statfs(tmpdir());
  const neededBytes = fileBytes(config, variant, "F16");
  if (bavail * bsize < neededBytes) {
    const [neededMb, freeMb] = [Math.ceil(neededBytes / 1e6), Math.floor((bavail * bsize) / 1e6)];
    throw new ModelError("DISK_FULL", { path: tmpdir(), neededMb, freeMb });
  }
  const quantised = variant === null ? {} : variant;
  writeRandomModel(directory, config, { seed: 1, dtype: "F16", ...quantised });
}

/** Engines of one shape that fit into memory together; in the order given. */
async function groupsThatFit(options: BenchOptions): Promise<EngineSpec[][]> {
  const roomBytes = memoryShare * freeBytes();
  const groups: { shape: ShapeName; specs: EngineSpec[]; bytes: number }[] = [];
  for (const spec of options.specs) {
    const config = await configOf(spec.shape);
    const needs = memoryNeeds(config, variantOf(spec), Math.max(...options.batches));
    const openingBytes = needs.bytes + (openingFactor - 1) * needs.weightsBytes;
    if (openingBytes > roomBytes) {
      options.onSkip(spec, openingBytes);
      continue;
    }
    const last = groups.at(-1);
    if (last !== undefined && last.shape === spec.shape && last.bytes + openingBytes <= roomBytes) {
      last.specs.push(spec);
      last.bytes += needs.bytes;
    } else {
      groups.push({ shape: spec.shape, specs: [spec], bytes: needs.bytes });
    }
  }
  return groups.map(({ specs }) => specs);
}

async function configOf(name: ShapeName): Promise<ModelConfig> {
  if (name !== "eaglet") {
    const shape = worldShapes[name];
    const width = shape.heads * shape.headSize;
    const eps = { groupNormEps: worldGroupNormEps, layerNormEps: 1e-5 };
    return { version: "5.2", ...shape, width, ...eps };
  }
  const model = await openModel(loadConfig({}).EYRIE_MODEL);
  model.close();
  return model.config;
}

function variantOf({ quantise, block }: EngineSpec): Variant | null {
  return quantise === "none" || block === null ? null : { quantise, block };
}

/** What could be had without swapping. */
function freeBytes(): number {
  try {
    const [, kilobytes] = /^MemAvailable:\s+(\d+) kB$/m.exec(
      readFileSync("/proc/meminfo", "utf8"),
    )!;
    return 1024 * Number(kilobytes);
  } catch {
    return freemem();
  }
}

/** Watches the anonymous memory of a process until it is called: then the largest value seen. */
function watchPeak(pid: number): () => number | null {
  let peak: number | null = null;
  const look = (): void => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      peak = Math.max(peak ?? 0, 1024 * Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0));
    } catch {
      // Not Linux, or it is gone.
    }
  };
  const timer = setInterval(look, peakPollMs);
  return () => {
    clearInterval(timer);
    return peak;
  };
}

/** The least of fewer than ten. */
function percentile10(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 10)] ?? 0;
}
