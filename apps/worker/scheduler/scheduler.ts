/**
 * Who gets how many tokens of the next step. Pure: numbers in, numbers out.
 *
 * Rows that decode always get their token, so a stream never waits for somebody's prompt. Rows that
 * still read their prompt share a budget that is sized from measured costs such that prompts take at
 * most half of a step's time while anybody decodes (continuous batching with chunked prefill).
 */

import type { StepCosts } from "./costs.ts";

/** What a row wants from the next step. */
export interface Demand {
  /** Identifies the row in the answer. */
  readonly row: number;
  readonly kind: "decode" | "prefill";
  /** Tokens it could be fed at once; at least 1. */
  readonly tokens: number;
}

/** Prompt tokens in any step; beyond it speed is flat. */
export const prefillTokensMax = 256;
/**
 * Prompt tokens that are always worth a step when nobody decodes: read at 96 % of the speed of 256
 * (1.5B in q4, two cores: 8 tokens 59 %, 16 69 %, 32 84 %, 64 96 %, 128 99 %; `test/bench/step.ts`).
 */
export const prefillTokensFast = 64;
/** More than those only while a step stays as short as this: it holds up stops and newcomers. */
export const prefillStepMsMax = 1_000;
/** Prompts go on at this pace however cheap decoding is. */
export const prefillTokensMin = 8;

/**
 * Tokens for each demand, in the order of `demands`; 0 means: not in this step. Prompts share
 * `promptTokens`, see {@link prefillBudget}.
 */
export function allot(demands: readonly Demand[], promptTokens: number): number[] {
  const tokens = demands.map((demand) => (demand.kind === "decode" ? demand.tokens : 0));
  const prompts = demands
    .map((demand, index) => ({ demand, index }))
    .filter(({ demand }) => demand.kind === "prefill")
    .sort((a, b) => a.demand.tokens - b.demand.tokens);
  let left = promptTokens;
  for (const [served, { demand, index }] of prompts.entries()) {
    // An equal share each; what short prompts leave over goes to the longer ones behind them.
    const share = Math.ceil(left / (prompts.length - served));
    const given = Math.min(demand.tokens, share);
    tokens[index] = given;
    left -= given;
  }
  return tokens;
}

/**
 * Prompt tokens for the next step, so that prompts take at most half of its time while `decoding` rows
 * decode. As many as those are it in any case: a prompt's token is read with the same weights, and
 * without a head or a draw.
 */
export function prefillBudget(decoding: number, costs: StepCosts | null): number {
  const tokenMs = costs?.prefillTokenMs ?? 0;
  if (decoding === 0) {
    if (tokenMs === 0) return prefillTokensFast;
    const inTime = Math.floor(prefillStepMsMax / tokenMs);
    return Math.max(prefillTokensFast, Math.min(prefillTokensMax, inTime));
  }
  const min = Math.max(prefillTokensMin, decoding);
  if (costs === null) return Math.min(prefillTokensMax, min);
  const half = Math.floor((costs.stepMs + decoding * costs.decodeTokenMs) / tokenMs);
  // One wrong guess must not hold up the streams for long.
  const step = Math.max(min, 2 * costs.prefillTokens);
  return Math.max(min, Math.min(prefillTokensMax, step, tokenMs === 0 ? Infinity : half));
}
