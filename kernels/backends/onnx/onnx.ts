/**
 * The onnx backend: the contract on onnxruntime's CPU kernels, in fp32 or on a quantised variant with
 * int8 activations, wherever npm has a binary.
 *
 * Owns one session and the live states. A row gives the same bits in any batch and its tokens in any
 * split, see `graph.ts`; so a plan whose rows differ much in length may be run in several parts. The
 * exception are variants with blocks of 128: there both differ by rounding, and the numeric class says
 * so (`q4-b128`).
 * Memory: the matrices once as onnxruntime packs them (4 bytes a number in fp32, about 1.4 in q8 and
 * 0.8 in q4), two states for each slot in use and at most one more, and activations in
 * proportion to the longest plan so far, which its maker bounds.
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
import { instructionSet } from "#kernels/backends/onnx/instruction-set.ts";
import { groupRows, packRows, wantedCount } from "#kernels/backends/onnx/packing.ts";
import { GraphSession, type IndexTensors } from "#kernels/backends/onnx/session.ts";
import { LiveStates } from "#kernels/backends/onnx/states.ts";
import { checkPlan, checkSlot } from "#kernels/backends/plan.ts";
import type { ModelConfig } from "#kernels/model/config.ts";
import { type Model, openModel } from "#kernels/model/model.ts";
import { blockDefault, variantName } from "#kernels/model/quantise/layout.ts";
import { isFiniteRow, Sampler } from "#kernels/sampler/sampler.ts";

/**
 * @throws ModelError when the directory does not hold a usable model, `BACKEND_UNAVAILABLE` when
 *   onnxruntime does not load
 */
export const openOnnx: OpenBackend = async (modelDirectory, limits, options) => {
  const model = await openModel(modelDirectory, options);
  try {
    return new OnnxBackend(await GraphSession.open(model, limits.threads), model, limits);
  } finally {
    model.close();
  }
};

/**
 * Whether a row is added up in the same order alone and among others: not in longer blocks, and not in
 * 4 bits without AVX-512, where onnxruntime 1.30 takes two rows at a time (seen on Zen 3, AVX2).
 */
function addsUpAlike(variant: Model["variant"]): boolean {
  if (variant === null) return true;
  const alone = variant.quantise === "q4" && instructionSet() === "x64-avx2";
  return variant.block === blockDefault && !alone;
}

class OnnxBackend implements Backend {
  readonly name = "onnx";
  readonly config: ModelConfig;
  readonly limits: BackendLimits;
  /** With the version of onnxruntime, since another onnxruntime may add up in another order. */
  readonly numericClass: string;
  readonly chunkExact: boolean;
  readonly #session: GraphSession;
  readonly #states: LiveStates;
  readonly #sampler: Sampler;
  /** Of pure decode steps, by number of rows: they differ in nothing but tokens. */
  readonly #decodeIndices = new Map<number, IndexTensors>();
  #scratch = new Float32Array();
  #phase: "idle" | "stepping" | "closed" = "idle";

  constructor(session: GraphSession, model: Model, limits: BackendLimits) {
    const { config, variant } = model;
    this.config = config;
    this.limits = limits;
    this.numericClass = `onnx-${session.runtimeVersion}/${instructionSet()}/${variantName(variant)}`;
    this.chunkExact = addsUpAlike(variant);
    this.#session = session;
    this.#states = new LiveStates(config, limits.slots);
    this.#sampler = new Sampler(limits.slots, config.vocabSize);
  }

  writeState(slot: SlotIndex, state: CanonicalState | null): void {
    this.#assertIdle();
    checkSlot(slot, this.limits);
    this.#states.write(slot, state);
  }

  readState(slot: SlotIndex, into?: CanonicalState): CanonicalState {
    this.#assertIdle();
    checkSlot(slot, this.limits);
    return this.#states.read(slot, into);
  }

  async step(plan: Plan): Promise<RowResult[]> {
    this.#assertIdle();
    checkPlan(plan, this.config, this.limits);
    this.#phase = "stepping";
    try {
      const results = new Map<SlotIndex, RowResult>();
      for (const group of groupRows(plan.rows, this.config)) {
        // By slot, so that the same company meets in the same order and its states need no copy.
        const rows = group.sort((a, b) => a.slot - b.slot);
        for (const result of await this.#run(rows)) results.set(result.slot, result);
      }
      return plan.rows.map((row) => results.get(row.slot)!);
    } finally {
      this.#phase = "idle";
    }
  }

  close(): void {
    this.#assertIdle();
    this.#phase = "closed";
    this.#states.clear();
    this.#session.close();
  }

  async #run(rows: readonly PlanRow[]): Promise<RowResult[]> {
    const tokens = BigInt64Array.from(
      rows.flatMap((row) => row.tokens),
      BigInt,
    );
    const states = this.#states.exchange(rows.map((row) => row.slot));
    const logits = this.#logitsFor(rows);
    await this.#session.run({ tokens, indices: this.#indicesOf(rows), states }, logits);
    states.commit();
    let read = 0;
    return rows.map((row) => {
      const length = wantedCount(row) * this.config.vocabSize;
      const own = logits.subarray(read, (read += length));
      // A row that has the buffer to itself may keep it.
      const isShared = own.length < logits.length && row.want !== "none";
      return this.#answer(row, isShared ? own.slice() : own);
    });
  }

  /** Room for all logits of a run; the same again and again while no row wants to keep its own. */
  #logitsFor(rows: readonly PlanRow[]): Float32Array {
    const length = rows.reduce((sum, row) => sum + wantedCount(row), 0) * this.config.vocabSize;
    if (rows.some((row) => row.want !== "none")) return new Float32Array(length);
    if (this.#scratch.length < length) this.#scratch = new Float32Array(length);
    return this.#scratch.subarray(0, length);
  }

  #answer(row: PlanRow, logits: Float32Array): RowResult {
    const { slot, want, sample } = row;
    const finite = logits.length === 0 || (this.#states.isFinite(slot) && isFiniteRow(logits));
    const last = logits.subarray(logits.length - this.config.vocabSize);
    const token = finite && sample !== undefined ? this.#sampler.draw(slot, last, sample) : null;
    return { slot, logits: want === "none" ? null : logits, token, finite };
  }

  #indicesOf(rows: readonly PlanRow[]): IndexTensors {
    const isDecode = rows.every((row) => row.tokens.length === 1 && wantedCount(row) === 1);
    const known = isDecode ? this.#decodeIndices.get(rows.length) : undefined;
    if (known !== undefined) return known;
    const indices = this.#session.indexTensors(packRows(rows));
    if (isDecode) this.#decodeIndices.set(rows.length, indices);
    return indices;
  }

  #assertIdle(): void {
    if (this.#phase !== "idle") throw new Error(`the backend is ${this.#phase}`);
  }
}
