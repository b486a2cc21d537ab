/**
 * The border every backend checks before a step changes anything: a plan that asks for what does not
 * exist is a programmer error and is thrown back whole.
 */
import { ModelError } from "#kernels/errors.ts";
import type { ModelConfig } from "#kernels/model/config.ts";
import { checkSampleOptions } from "#kernels/sampler/sampler.ts";
import type { BackendLimits, Plan } from "./contract.ts";

/** @throws RangeError; ModelError `TOKEN_OUT_OF_RANGE` for a token the model does not have */
export function checkPlan(plan: Plan, config: ModelConfig, limits: BackendLimits): void {
  const slots = new Set<number>();
  for (const { slot, tokens, sample } of plan.rows) {
    checkSlot(slot, limits);
    if (slots.has(slot)) throw new RangeError(`slot ${slot} is in two rows of one plan`);
    slots.add(slot);
    if (tokens.length === 0) throw new RangeError(`the row of slot ${slot} has no token`);
    for (const token of tokens) checkToken(token, config);
    for (const token of sample?.banned ?? []) checkToken(token, config);
    for (const token of sample?.earlier ?? []) checkToken(token, config);
    if (sample !== undefined) checkSampleOptions(sample);
  }
}

export function checkSlot(slot: number, { slots }: BackendLimits): void {
  if (!Number.isInteger(slot) || slot < 0 || slot >= slots) {
    throw new RangeError(`slot ${slot}, there are ${slots}`);
  }
}

function checkToken(token: number, { vocabSize }: ModelConfig): void {
  if (!Number.isInteger(token) || token < 0 || token >= vocabSize) {
    throw new ModelError("TOKEN_OUT_OF_RANGE", { token, vocabSize });
  }
}
