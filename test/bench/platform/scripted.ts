/**
 * A backend without a model: it takes the time that it is told to and says the words of a script.
 * Everything around it is the real worker, so what is measured is the platform alone.
 *
 * A draw depends on the reply's seed and the number of the draw only (`wordsOf`), so who asked can
 * tell whether the right words arrived. The state is as large as that of the given shape, looks like
 * noise to a compressor, and counts the tokens that were fed. A step sleeps; what it computes is
 * measured by the thread's own clock and told to whoever asks over `cpuChannel`.
 */
import { BroadcastChannel } from "node:worker_threads";
import { crc32 } from "node:zlib";
import type { Backend, OpenBackend, PlanRow, RowResult } from "#kernels/backends/contract.ts";
import { type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { openModel } from "#kernels/model/model.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { seededRandom } from "#test/doubles/discord/faults.ts";

export interface Script {
  readonly stepMs: number;
  /** On top, for each token of a prompt. */
  readonly promptTokenMs: number;
  /** Of the state. */
  readonly layers: number;
  readonly width: number;
}

/** The variable that holds the {@link Script}, as JSON. */
export const scriptVariable = "EYRIE_BENCH_SCRIPT";
/** Asked anything on it, the thread answers with its {@link ScriptedUsage}. */
export const cpuChannel = "eyrie-bench-cpu";

export interface ScriptedUsage {
  /** CPU of the steps and state moves of the backend since it was opened. */
  readonly modelMs: number;
}

const words = " The eagle circles above the ridge and tells what it sees far below in the valley.";
const headSize = 64;

/** The ids that are drawn for the reply of a seed. */
export class Words {
  readonly #ids: readonly number[];

  constructor(tokenizer: Tokenizer) {
    this.#ids = tokenizer.encode(words);
  }

  offsetOf(seed: string): number {
    return crc32(seed) % this.#ids.length;
  }

  at(offset: number, draw: number): number {
    return this.#ids[(offset + draw) % this.#ids.length]!;
  }

  reply(seed: string, tokens: number): number[] {
    const offset = this.offsetOf(seed);
    return Array.from({ length: tokens }, (_, draw) => this.at(offset, draw));
  }
}

/** A number that every codec keeps: with 127 in its row the scale is 1. */
function noise(length: number): Float32Array {
  const random = seededRandom(1);
  const numbers = new Float32Array(length);
  for (let index = 0; index < length; index++) {
    numbers[index] = index % headSize === 0 ? 127 : Math.round(random() * 254) - 127;
  }
  return numbers;
}

function zeros(count: number): number[] {
  return Array.from({ length: count }, () => 0);
}

/** Tokens fed, in digits of base 100 behind the first number of the first row. */
function writeCount(state: Float32Array, count: number): void {
  for (let digit = 1, rest = count; digit < 8; digit++) {
    state[digit] = rest % 100;
    rest = Math.floor(rest / 100);
  }
}

function readCount(state: Float32Array): number {
  let count = 0;
  for (let digit = 7; digit > 0; digit--) count = 100 * count + state[digit]!;
  return count;
}

export const open: OpenBackend = async (directory, limits) => {
  const script = JSON.parse(process.env[scriptVariable] ?? "") as Script;
  const model = await openModel(directory);
  const vocabulary = Tokenizer.open(model.vocabularyPath ?? "");
  model.close();
  const { layers, width } = script;
  const heads = width / headSize;
  const config: ModelConfig = { ...model.config, layers, width, heads, headSize };
  return new Scripted(script, { config, limits, words: new Words(vocabulary) });
};

class Scripted implements Backend {
  readonly name = "reference";
  readonly numericClass = "scripted";
  readonly chunkExact = true;
  readonly config: ModelConfig;
  readonly limits: Backend["limits"];
  readonly #script: Script;
  readonly #words: Words;
  readonly #noise: Float32Array;
  readonly #counts: number[];
  readonly #offsets: number[];
  readonly #pause = new Int32Array(new SharedArrayBuffer(4));
  readonly #channel = new BroadcastChannel(cpuChannel);
  #cpuUs = 0;

  constructor(script: Script, parts: Pick<Backend, "config" | "limits"> & { words: Words }) {
    this.config = parts.config;
    this.limits = parts.limits;
    this.#script = script;
    this.#words = parts.words;
    this.#noise = noise(stateLength(parts.config));
    this.#counts = zeros(parts.limits.slots);
    this.#offsets = zeros(parts.limits.slots);
    this.#channel.addEventListener("message", () => {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
      this.#channel.postMessage({ modelMs: this.#cpuUs / 1000 } satisfies ScriptedUsage);
    });
    this.#channel.unref();
  }

  writeState(slot: number, state: Float32Array | null): void {
    this.#counts[slot] = state === null ? 0 : readCount(state);
  }

  readState(slot: number, into = new Float32Array(this.#noise.length)): Float32Array {
    return this.#measured(() => {
      into.set(this.#noise);
      writeCount(into, this.#counts[slot] ?? 0);
      return into;
    });
  }

  async step({ rows }: { readonly rows: readonly PlanRow[] }): Promise<RowResult[]> {
    const startedMs = performance.now();
    const results = this.#measured(() => rows.map((row) => this.#row(row)));
    const prompts = rows.reduce((sum, { tokens }) => sum + tokens.length - 1, 0);
    const ms = this.#script.stepMs + prompts * this.#script.promptTokenMs;
    // A model computes and does not yield; this one sleeps instead, to the microsecond.
    Atomics.wait(this.#pause, 0, 0, Math.max(0, startedMs + ms - performance.now()));
    return results;
  }

  close(): void {
    this.#channel.close();
  }

  #row({ slot, tokens, sample }: PlanRow): RowResult {
    this.#counts[slot] = (this.#counts[slot] ?? 0) + tokens.length;
    if (sample?.draw === 0) this.#offsets[slot] = this.#words.offsetOf(sample.seed);
    const token =
      sample === undefined ? null : this.#words.at(this.#offsets[slot] ?? 0, sample.draw);
    return { slot, logits: null, token, finite: true };
  }

  #measured<T>(work: () => T): T {
    const before = process.threadCpuUsage();
    const result = work();
    const { user, system } = process.threadCpuUsage(before);
    this.#cpuUs += user + system;
    return result;
  }
}
