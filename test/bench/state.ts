/**
 * What a state codec costs: bytes, speed beside a plain copy, and how far a conversation drifts.
 * Run: `node eyrie.mjs --run test/bench/state.ts`; writes `results/state.json` beside this file, from
 * which the table in `kernels/state/format.md` is taken.
 *
 * Drift: conversations of Eaglet's training dialogues, in every language of its recipe. Three runs are
 * fed the same tokens: one whose state is never touched; one whose state goes through the codec once,
 * at a turn boundary in the middle; one where it does so at every turn boundary, as in the worker.
 * Printed is the Kullback-Leibler divergence of the next-token distributions from the untouched run,
 * over all of the 512 tokens that follow and over the last 64 of them.
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { zstdCompressSync } from "node:zlib";
import type { Backend } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { stateLength } from "#kernels/model/config.ts";
import { decodeState, encodedBytes, encodeState, settleState } from "#kernels/state/codec.ts";
import { type StateCodec, stateCodecs } from "#kernels/state/codec.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { languages, readIntents } from "#test/eaglet/corpus.ts";

const eaglet = resolve(import.meta.dirname, "../../kernels/models/eaglet");
const contextTokens = 256;
const furtherTokens = 512;
const lastTokens = 64;
const conversationsPerLanguage = 8;
/** For the places that the trainer fills with fresh values. */
const fillings: Readonly<Record<string, string>> = { name: "Mira", number: "37", word: "lantern" };
const worldShapes = {
  "0.4B": { layers: 24, width: 1024, headSize: 64 },
  "1.5B": { layers: 24, width: 2048, headSize: 64 },
  "3B": { layers: 32, width: 2560, headSize: 64 },
  "7B": { layers: 32, width: 4096, headSize: 64 },
};
type Shape = Parameters<typeof stateLength>[0];

interface Conversation {
  readonly language: string;
  /** Tokens of each turn. */
  readonly turns: readonly (readonly number[])[];
  /** Turns before the boundary at which the state is touched once. */
  readonly before: number;
}

interface Drift {
  readonly settled: "once" | "every turn";
  readonly klMean: number;
  /** Over the last tokens of the 512: what is left of it by then. */
  readonly klEnd: number;
  readonly klMax: number;
  readonly top1Agreement: number;
}

function conversations(tokenizer: Tokenizer): Conversation[] {
  return languages().flatMap((language) =>
    Array.from({ length: conversationsPerLanguage }, (_, seed) =>
      conversation(tokenizer, language, seed),
    ),
  );
}

/** Questions and answers of one language after another, in an order that the seed decides. */
function conversation(tokenizer: Tokenizer, language: string, seed: number): Conversation {
  const intents = [...readIntents(language).values()].filter(
    ({ answers, questions }) => questions.length > 0 && answers.length > 0,
  );
  const turns: number[][] = [];
  let tokens = 0;
  let before = 0;
  for (let turn = 0; tokens < contextTokens + furtherTokens + 128; turn++) {
    const { questions, answers } = intents[(turn * 17 + seed * 5) % intents.length]!;
    const question = questions[(turn * 7 + seed) % questions.length]!;
    const answer = answers[turn % answers.length]!;
    turns.push(tokenizer.encode(filled(`User: ${question}\n\nAssistant: ${answer}\n\n`)));
    tokens += turns.at(-1)!.length;
    if (tokens <= contextTokens) before = turn + 1;
  }
  return { language, turns, before };
}

function filled(text: string): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => fillings[name] ?? name);
}

async function driftOf(
  backend: Backend,
  codec: StateCodec,
  talks: readonly Conversation[],
): Promise<Drift[]> {
  const [once, always] = [new Comparison(), new Comparison()];
  for (const { turns, before } of talks) {
    for (const slot of [0, 1, 2]) backend.writeState(slot, null);
    let further = 0;
    for (const [index, tokens] of turns.entries()) {
      if (further >= furtherTokens) break;
      const rows = [0, 1, 2].map((slot) => ({ slot, tokens, want: "all" as const }));
      const results = await backend.step({ rows });
      const [untouched, first, second] = results.map(({ logits }) => logits!);
      if (index >= before) {
        const { vocabSize } = backend.config;
        const counted = Math.min(tokens.length, furtherTokens - further);
        once.add([untouched!, first!], vocabSize, { from: further, count: counted });
        always.add([untouched!, second!], vocabSize, { from: further, count: counted });
        further += counted;
      }
      if (index + 1 === before) settle(backend, 1, codec);
      settle(backend, 2, codec);
    }
  }
  return [
    { settled: "once", ...once.figures() },
    { settled: "every turn", ...always.figures() },
  ];
}

function settle(backend: Backend, slot: number, codec: StateCodec): void {
  const state = backend.readState(slot);
  if (!settleState(codec, state, backend.config.headSize)) throw new Error("a state is not finite");
  backend.writeState(slot, state);
}

class Comparison {
  #sum = 0;
  #count = 0;
  #endSum = 0;
  #endCount = 0;
  #max = 0;
  #agreed = 0;

  add(
    [untouched, touched]: readonly [Float32Array, Float32Array],
    vocabSize: number,
    range: { readonly from: number; readonly count: number },
  ): void {
    for (let token = 0; token < range.count; token++) {
      const row = (logits: Float32Array): Float32Array =>
        logits.subarray(token * vocabSize, (token + 1) * vocabSize);
      const [p, q] = [row(untouched), row(touched)];
      const divergence = klDivergence(p, q);
      this.#sum += divergence;
      this.#count++;
      this.#max = Math.max(this.#max, divergence);
      if (argmax(p) === argmax(q)) this.#agreed++;
      if (range.from + token >= furtherTokens - lastTokens) {
        this.#endSum += divergence;
        this.#endCount++;
      }
    }
  }

  figures(): Omit<Drift, "settled"> {
    return {
      klMean: this.#sum / this.#count,
      klEnd: this.#endSum / this.#endCount,
      klMax: this.#max,
      top1Agreement: this.#agreed / this.#count,
    };
  }
}

/** Of the distributions that two rows of logits stand for, in nats. */
function klDivergence(p: Float32Array, q: Float32Array): number {
  const [pSum, qSum] = [logSumExp(p), logSumExp(q)];
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const logP = p[i]! - pSum;
    sum += Math.exp(logP) * (logP - (q[i]! - qSum));
  }
  return Math.max(0, sum);
}

function logSumExp(logits: Float32Array): number {
  const top = logits[argmax(logits)]!;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - top);
  return top + Math.log(sum);
}

function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/** Share of the encoded bytes that zstd leaves: after the first turn, and at all later boundaries. */
async function zstdShares(
  backend: Backend,
  codec: StateCodec,
  talks: readonly Conversation[],
): Promise<{ readonly firstTurn: number; readonly later: number }> {
  const first = { before: 0, after: 0 };
  const later = { before: 0, after: 0 };
  for (const { turns } of talks) {
    backend.writeState(0, null);
    for (const [turn, tokens] of turns.entries()) {
      await backend.step({ rows: [{ slot: 0, tokens, want: "none" }] });
      const bytes = encodeState(codec, backend.readState(0), backend.config.headSize)!;
      const sum = turn === 0 ? first : later;
      sum.before += bytes.length;
      sum.after += zstdCompressSync(bytes).length;
    }
  }
  return {
    firstTurn: rounded(first.after / first.before),
    later: rounded(later.after / later.before),
  };
}

interface Speed {
  readonly encode: number;
  readonly decode: number;
  /** Of the zstd that could follow the encoding. */
  readonly zstd: number;
}

/** GB/s of fp32 state, beside a plain copy of the same state; the best of interleaved rounds. */
function speeds(): { copy: number; codecs: Readonly<Record<string, Speed>> } {
  const elements = stateLength(worldShapes["7B"] as Shape);
  const state = Float32Array.from({ length: elements }, (_, i) => Math.sin(i) * (1 + (i % 97)));
  const into = { state: new Float32Array(elements), rowLength: 64 };
  const best = new Map<string, number>();
  const timed = (what: string, run: () => void): void => {
    const started = performance.now();
    run();
    const bytesPerMs = state.byteLength / (performance.now() - started);
    best.set(what, Math.max(best.get(what) ?? 0, bytesPerMs / 1e6));
  };
  for (let round = 0; round < 12; round++) {
    timed("copy", () => into.state.set(state));
    for (const codec of stateCodecs) {
      let bytes: Uint8Array<ArrayBuffer> | null = null;
      timed(`${codec} encode`, () => (bytes = encodeState(codec, state, 64)));
      timed(`${codec} decode`, () => decodeState(codec, bytes!, into));
      timed(`${codec} zstd`, () => zstdCompressSync(bytes!));
    }
  }
  const copy = best.get("copy")!;
  const codecs = stateCodecs.map((codec) => {
    const share = (way: string): number => rounded(best.get(`${codec} ${way}`)! / copy);
    const speed = { encode: share("encode"), decode: share("decode"), zstd: share("zstd") };
    return [codec, speed] as const;
  });
  return { copy: rounded(copy), codecs: Object.fromEntries(codecs) };
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

const tokenizer = Tokenizer.open(join(eaglet, "vocab.txt"));
const backend = await openOnnx(eaglet, { slots: 3, threads: cpus().length });
const talks = conversations(tokenizer);
const { copy, codecs } = speeds();
const rows = [];
for (const codec of stateCodecs) {
  const bytesOf = ([name, shape]: readonly [string, (typeof worldShapes)["7B"]]) =>
    [name, encodedBytes(codec, stateLength(shape as Shape), shape.headSize)] as const;
  rows.push({
    codec,
    bytes: Object.fromEntries(Object.entries(worldShapes).map(bytesOf)),
    zstdShare: await zstdShares(backend, codec, talks),
    ofCopy: codecs[codec]!,
    drift: (await driftOf(backend, codec, talks)).map((drift) => ({
      ...drift,
      klMean: rounded(drift.klMean),
      klEnd: rounded(drift.klEnd),
      klMax: rounded(drift.klMax),
      top1Agreement: Number(drift.top1Agreement.toFixed(5)),
    })),
  });
}
backend.close();
const result = {
  bench: "state",
  commit: execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8" }).trim(),
  machine: cpus()[0]?.model,
  copyGigabytesPerSecond: copy,
  conversations: talks.length,
  contextTokens,
  furtherTokens,
  numericClass: backend.numericClass,
  rows,
};
const json = `${JSON.stringify(result, null, 1)}\n`;
writeFileSync(join(import.meta.dirname, "results/state.json"), json);
process.stdout.write(json);
