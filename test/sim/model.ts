/**
 * A model small enough to be computed twice: a state is sixteen numbers that every token stirs, and
 * what is drawn depends on all of them. So a state that is not that of its log says something else.
 */
import { Reply } from "#apps/worker/turnloop/reply.ts";
import { promptFor, type Turn, turnSeed } from "#infra/turn/index.ts";
import type { PlanRow } from "#kernels/backends/contract.ts";
import { type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

export const modelName = "sim";
export const fingerprint = "sim-1";

export const config: ModelConfig = {
  version: "5.2",
  layers: 1,
  width: 4,
  heads: 2,
  headSize: 2,
  ffnWidth: 4,
  vocabSize: 512,
  groupNormEps: 64e-5,
  layerNormEps: 1e-5,
};
const length = stateLength(config);
const modulus = 65_521;

/** One token for each byte (its value + 1), and a few long ones, so that replies have several parts. */
const firstLong = 300;
const longTokens = 3;
const vocabulary = Array.from({ length: firstLong + longTokens }, (_, id) => {
  if (id >= 1 && id <= 256) return Uint8Array.of(id - 1);
  return id >= firstLong ? Buffer.from(`${"long words ".repeat(60)}${id}. `) : undefined;
});
export const tokenizer = new Tokenizer(vocabulary);

/** Whoever computes this byte crashes. No text has it otherwise. */
export const poison = "☠";
const poisonToken = 0xe2 + 1;
const newlineToken = 0x0a + 1;

export function emptyState(): Float32Array {
  return new Float32Array(length);
}

export function feed(state: Float32Array, tokens: readonly number[]): void {
  for (const token of tokens) {
    for (let index = 0; index < length; index++) {
      const next = state[(index + 1) % length]!;
      state[index] = (state[index]! * 31 + next * 7 + token * (index + 3) + 1) % modulus;
    }
  }
}

export function isPoisoned(tokens: readonly number[]): boolean {
  return tokens.includes(poisonToken);
}

/** Letters, now and then a long word; ends with a blank line after a handful. */
export function draw(state: Float32Array, sample: NonNullable<PlanRow["sample"]>): number {
  let mixed = sample.seed.length;
  for (let index = 0; index < length; index++) mixed = (mixed * 33 + state[index]!) % 1_000_003;
  const before = state[0]! % 11;
  if (sample.draw > 3 && before < 3) return newlineToken;
  if (sample.draw > 0 && mixed % 61 === 0) return firstLong + (mixed % longTokens);
  return 0x61 + 1 + (mixed % 26);
}

/** What the model says to a turn on top of a state, and the tokens that are fed on the way. */
export function answer(
  before: Float32Array,
  turn: Turn,
  stopAfter: number | null = null,
): { readonly text: string; readonly tokens: readonly number[]; readonly after: Float32Array } {
  const state = Float32Array.from(before);
  const reply = new Reply({
    tokenizer,
    replay: [],
    prompt: tokenizer.encode(promptFor(turn.text)),
    seed: turnSeed({ turn: turn.id, attempt: turn.attempt }),
    sampling: turn.sampling,
    maxTokens: turn.maxTokens,
  });
  while (!reply.done) {
    const { sample, tokens } = reply.take(reply.waiting);
    feed(state, tokens);
    reply.accept(sample === undefined ? null : draw(state, sample));
    if (stopAfter !== null && reply.replyTokens >= stopAfter) reply.stop("stopped");
  }
  return { text: reply.text, tokens: reply.logTokens, after: state };
}
