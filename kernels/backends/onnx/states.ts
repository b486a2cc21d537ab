/**
 * The live states, in the graph's own layout.
 *
 * A state lies in exactly one batch: the outputs of the last run its slot took part in, or a batch of
 * its own. So the outputs of a step are the inputs of the next, uncopied, for as long as the same
 * slots go on together; only a change of company copies, and then each state once. A slot that never
 * held a state has none and reads as zeros.
 *
 * onnxruntime-node computes outputs into memory of its own and copies each into a new buffer, even when
 * it is given one to write to (measured). So what a step leaves behind is freed at once and by hand:
 * the allocator hands the same pages to the next step, and the garbage collector never sees them.
 */
import type { CanonicalState, SlotIndex } from "#kernels/backends/contract.ts";
import { type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { isFiniteRow } from "#kernels/sampler/sampler.ts";

/** The states of some slots, row by row. */
export interface StateBatch {
  readonly slots: readonly SlotIndex[];
  /** `[B, L · 2 · D]`: each layer's attShift, then its ffnShift. */
  readonly shift: Float32Array;
  /** For each layer `[B, H, N, N]`. */
  readonly wkv: readonly Float32Array[];
}

export class LiveStates {
  readonly #config: ModelConfig;
  readonly #batchOfSlot = new Map<SlotIndex, StateBatch>();
  readonly #notFinite = new Set<SlotIndex>();

  constructor(config: ModelConfig) {
    this.#config = config;
  }

  /** The states of `slots` as one batch, for a run whose results `replace` will put in place. */
  gather(slots: readonly SlotIndex[]): StateBatch {
    const resident = this.#batchOfSlot.get(slots[0]!);
    if (resident !== undefined && sameSlots(resident.slots, slots)) return resident;
    const batch = this.#allocate(slots);
    slots.forEach((slot, row) => {
      const source = this.#batchOfSlot.get(slot);
      if (source !== undefined) this.#copyRow([source, source.slots.indexOf(slot)], [batch, row]);
    });
    return batch;
  }

  /**
   * Makes `batch` the place of its slots' states, `before` being what the run was given. Other states
   * that lay beside the former ones move out.
   */
  replace(batch: StateBatch, before: StateBatch): void {
    const left = new Set<StateBatch>();
    for (const slot of batch.slots) {
      const former = this.#batchOfSlot.get(slot);
      if (former !== undefined) left.add(former);
      this.#batchOfSlot.set(slot, batch);
    }
    for (const former of left) this.#dissolve(former);
    if (!left.has(before)) free(before);
  }

  write(slot: SlotIndex, state: CanonicalState | null): void {
    if (state !== null && state.length !== stateLength(this.#config)) {
      throw new RangeError(`a state has ${stateLength(this.#config)} numbers, not ${state.length}`);
    }
    if (state === null || isFiniteRow(state)) this.#notFinite.delete(slot);
    else this.#notFinite.add(slot);
    const resident = this.#batchOfSlot.get(slot);
    if (resident === undefined && state === null) return;
    const batch = resident ?? this.#allocate([slot]);
    const row = batch.slots.indexOf(slot);
    let position = 0;
    for (const part of this.#canonicalParts(batch, row)) {
      if (state === null) part.fill(0);
      else part.set(state.subarray(position, (position += part.length)));
    }
    this.#batchOfSlot.set(slot, batch);
  }

  /**
   * False from the writing of a state with NaN or ±Inf until the next one. Shifts with such numbers
   * need not show in the logits: quantised products take rounded inputs.
   */
  isFinite(slot: SlotIndex): boolean {
    return !this.#notFinite.has(slot);
  }

  read(slot: SlotIndex): CanonicalState {
    const state = new Float32Array(stateLength(this.#config));
    const batch = this.#batchOfSlot.get(slot);
    if (batch === undefined) return state;
    let position = 0;
    for (const part of this.#canonicalParts(batch, batch.slots.indexOf(slot))) {
      state.set(part, position);
      position += part.length;
    }
    return state;
  }

  clear(): void {
    this.#batchOfSlot.clear();
  }

  /** Frees a batch that lost a row: the states still in it get batches of their own. */
  #dissolve(former: StateBatch): void {
    former.slots.forEach((slot, row) => {
      if (this.#batchOfSlot.get(slot) !== former) return;
      const own = this.#allocate([slot]);
      this.#copyRow([former, row], [own, 0]);
      this.#batchOfSlot.set(slot, own);
    });
    free(former);
  }

  #allocate(slots: readonly SlotIndex[]): StateBatch {
    const { layers, width, headSize } = this.#config;
    const shift = new Float32Array(slots.length * layers * 2 * width);
    const perLayer = slots.length * width * headSize;
    const wkv = Array.from({ length: layers }, () => new Float32Array(perLayer));
    return { slots, shift, wkv };
  }

  #copyRow(from: readonly [StateBatch, number], to: readonly [StateBatch, number]): void {
    const target = this.#canonicalParts(...to);
    for (const part of this.#canonicalParts(...from)) target.next().value?.set(part);
  }

  /** Views of one row in canonical order: for each layer attShift, wkv, ffnShift. */
  *#canonicalParts(batch: StateBatch, row: number): Generator<Float32Array, undefined> {
    const { layers, width, headSize } = this.#config;
    const perWkv = width * headSize;
    for (let layer = 0; layer < layers; layer++) {
      const shift = (row * layers + layer) * 2 * width;
      yield batch.shift.subarray(shift, shift + width);
      yield batch.wkv[layer]!.subarray(row * perWkv, (row + 1) * perWkv);
      yield batch.shift.subarray(shift + width, shift + 2 * width);
    }
    return undefined;
  }
}

/** Gives the memory back now; whoever still holds a view of it finds it empty. */
function free({ shift, wkv }: StateBatch): void {
  for (const { buffer } of [shift, ...wkv]) (buffer as ArrayBuffer).transfer(0);
}

function sameSlots(a: readonly SlotIndex[], b: readonly SlotIndex[]): boolean {
  return a.length === b.length && a.every((slot, row) => slot === b[row]);
}
