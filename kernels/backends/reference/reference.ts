/**
 * The reference backend: the contract in plain TypeScript, fp32 storage, one token after another.
 *
 * It is what every other backend is compared with, and runs wherever Node does. Rows never meet, so
 * a row gives the same bits in any batch and its tokens in any split (`chunkExact`). Memory: the model
 * in fp32. Speed: about 1 GFLOP/s; meant for small models and for proofs.
 */
import type {
  Backend,
  BackendLimits,
  CanonicalState,
  OpenBackend,
  Plan,
  PlanRow,
  RowResult,
  SlotIndex,
} from "#kernels/backends/contract.ts";
import { checkPlan, checkSlot } from "#kernels/backends/plan.ts";
import { type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { type Model, openModel } from "#kernels/model/model.ts";
import { variantName } from "#kernels/model/quantise/layout.ts";
import { isFiniteRow, Sampler } from "#kernels/sampler/sampler.ts";
import {
  allocateActivations,
  computeLogits,
  type ForwardContext,
  forwardToken,
} from "./forward.ts";
import { loadWeights } from "./weights.ts";

/** @throws ModelError when the directory does not hold a usable model */
export const openReference: OpenBackend = async (modelDirectory, limits, options) => {
  const model = await openModel(modelDirectory, options);
  try {
    return new ReferenceBackend(model, limits);
  } finally {
    model.close();
  }
};

class ReferenceBackend implements Backend {
  readonly name = "reference";
  readonly config: ModelConfig;
  readonly limits: BackendLimits;
  /** IEEE doubles, one order of additions, V8's own exp: any machine gives the same bits. */
  readonly numericClass: string;
  readonly chunkExact = true;
  readonly #context: ForwardContext;
  readonly #states: Float32Array[];
  readonly #sampler: Sampler;
  #phase: "idle" | "stepping" | "closed" = "idle";

  constructor(model: Model, limits: BackendLimits) {
    const { config } = model;
    this.config = config;
    this.limits = limits;
    this.numericClass = `reference/js/${variantName(model.variant)}`;
    const activations = allocateActivations(config);
    this.#context = { config, weights: loadWeights(model), activations };
    const length = stateLength(config);
    this.#states = Array.from({ length: limits.slots }, () => new Float32Array(length));
    this.#sampler = new Sampler(limits.slots, config.vocabSize);
  }

  writeState(slot: SlotIndex, state: CanonicalState | null): void {
    const live = this.#liveState(slot);
    if (state === null) {
      live.fill(0);
      return;
    }
    if (state.length !== live.length) {
      throw new RangeError(`a state has ${live.length} numbers, not ${state.length}`);
    }
    live.set(state);
  }

  readState(slot: SlotIndex, into?: CanonicalState): CanonicalState {
    const live = this.#liveState(slot);
    if (into === undefined) return live.slice();
    into.set(live);
    return into;
  }

  async step(plan: Plan): Promise<RowResult[]> {
    this.#assertIdle();
    checkPlan(plan, this.config, this.limits);
    this.#phase = "stepping";
    try {
      // A second call in the same turn of the event loop is refused, as with a backend on threads.
      await Promise.resolve();
      return plan.rows.map((row) => this.#runRow(row));
    } finally {
      this.#phase = "idle";
    }
  }

  close(): void {
    this.#assertIdle();
    this.#phase = "closed";
  }

  #runRow({ slot, tokens, want, sample }: PlanRow): RowResult {
    const { vocabSize } = this.config;
    const state = this.#states[slot]!;
    const all = want === "all" ? new Float32Array(tokens.length * vocabSize) : null;
    tokens.forEach((token, index) => {
      forwardToken(this.#context, token, state);
      if (all !== null) computeLogits(this.#context, rowOf(all, index, vocabSize));
    });
    if (want === "none" && sample === undefined) {
      return { slot, logits: null, token: null, finite: true };
    }
    let last: Float32Array;
    if (all === null) computeLogits(this.#context, (last = new Float32Array(vocabSize)));
    else last = rowOf(all, tokens.length - 1, vocabSize);
    const finite = isFiniteRow(all ?? last);
    const token = finite && sample ? this.#sampler.draw(slot, last, sample) : null;
    return { slot, logits: want === "none" ? null : (all ?? last), token, finite };
  }

  #liveState(slot: SlotIndex): Float32Array {
    this.#assertIdle();
    checkSlot(slot, this.limits);
    return this.#states[slot]!;
  }

  #assertIdle(): void {
    if (this.#phase !== "idle") throw new Error(`the backend is ${this.#phase}`);
  }
}

function rowOf(logits: Float32Array, index: number, width: number): Float32Array {
  return logits.subarray(index * width, (index + 1) * width);
}
