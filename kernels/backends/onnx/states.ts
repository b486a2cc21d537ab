/**
 * The live states, in the graph's own layout.
 *
 * A state lies in exactly one batch: the outputs of the last run its slot took part in, or a batch of
 * its own. So the outputs of a step are the inputs of the next, uncopied, for as long as the same
 * slots go on together; only a change of company copies, and then each state once. A slot that never
 * held a state has none and reads as zeros.
 *
 * Runs write into buffers that are given to them and come back when their states have moved on: two
 * sets take turns, and nothing is left to the garbage collector. Memory: two states a slot while it
 * runs, and at most one more a slot in free buffers.
 */
import type { CanonicalState, SlotIndex } from "#kernels/backends/contract.ts";
import { type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { isFiniteRow } from "#kernels/sampler/sampler.ts";

/** Room for the states of `rows` slots, row by row. */
export interface StateBuffers {
  readonly rows: number;
  /** `[B, L · 2 · D]`: each layer's attShift, then its ffnShift. */
  readonly shift: Float32Array;
  /** For each layer `[B, H, N, N]`. */
  readonly wkv: readonly Float32Array[];
}

interface StateBatch {
  readonly slots: readonly SlotIndex[];
  readonly buffers: StateBuffers;
}

/** What a run reads and where it writes. */
export interface StateExchange {
  readonly before: StateBuffers;
  readonly after: StateBuffers;
  /** The run is done: `after` is where the states lie now. Others that lay beside them move out. */
  commit(): void;
}

export class LiveStates {
  readonly #config: ModelConfig;
  readonly #pool: BufferPool;
  readonly #batchOfSlot = new Map<SlotIndex, StateBatch>();
  readonly #notFinite = new Set<SlotIndex>();

  constructor(config: ModelConfig, slots: number) {
    this.#config = config;
    this.#pool = new BufferPool(config, slots);
  }

  /** The states of `slots` in one batch, and room for the next ones; nothing changes until `commit`. */
  exchange(slots: readonly SlotIndex[]): StateExchange {
    const resident = this.#batchOfSlot.get(slots[0]!);
    const isTogether = resident !== undefined && sameSlots(resident.slots, slots);
    const before = isTogether ? resident.buffers : this.#gather(slots);
    const after = this.#pool.take(slots.length);
    const commit = (): void => {
      this.#replace({ slots, buffers: after });
      if (!isTogether) this.#pool.give(before);
    };
    return { before, after, commit };
  }

  write(slot: SlotIndex, state: CanonicalState | null): void {
    if (state !== null && state.length !== stateLength(this.#config)) {
      throw new RangeError(`a state has ${stateLength(this.#config)} numbers, not ${state.length}`);
    }
    if (state === null || isFiniteRow(state)) this.#notFinite.delete(slot);
    else this.#notFinite.add(slot);
    const resident = this.#batchOfSlot.get(slot);
    if (resident === undefined && state === null) return;
    const batch = resident ?? { slots: [slot], buffers: this.#pool.take(1) };
    let position = 0;
    for (const part of this.#canonicalParts(rowOf(batch, slot))) {
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

  read(slot: SlotIndex, into?: CanonicalState): CanonicalState {
    const state = into ?? new Float32Array(stateLength(this.#config));
    const batch = this.#batchOfSlot.get(slot);
    if (batch === undefined) return into === undefined ? state : state.fill(0);
    let position = 0;
    for (const part of this.#canonicalParts(rowOf(batch, slot))) {
      state.set(part, position);
      position += part.length;
    }
    return state;
  }

  clear(): void {
    this.#batchOfSlot.clear();
    this.#pool.clear();
  }

  #gather(slots: readonly SlotIndex[]): StateBuffers {
    const buffers = this.#pool.take(slots.length);
    slots.forEach((slot, row) => {
      const source = this.#batchOfSlot.get(slot);
      if (source !== undefined) this.#copyRow(rowOf(source, slot), { buffers, row });
      else for (const part of this.#canonicalParts({ buffers, row })) part.fill(0);
    });
    return buffers;
  }

  #replace(batch: StateBatch): void {
    const left = new Set<StateBatch>();
    for (const slot of batch.slots) {
      const former = this.#batchOfSlot.get(slot);
      if (former !== undefined) left.add(former);
      this.#batchOfSlot.set(slot, batch);
    }
    for (const former of left) this.#dissolve(former);
  }

  /** Frees a batch that lost a row: the states still in it get batches of their own. */
  #dissolve(former: StateBatch): void {
    for (const slot of former.slots) {
      if (this.#batchOfSlot.get(slot) !== former) continue;
      const own = { slots: [slot], buffers: this.#pool.take(1) };
      this.#copyRow(rowOf(former, slot), { buffers: own.buffers, row: 0 });
      this.#batchOfSlot.set(slot, own);
    }
    this.#pool.give(former.buffers);
  }

  #copyRow(from: StateRow, to: StateRow): void {
    const target = this.#canonicalParts(to);
    for (const part of this.#canonicalParts(from)) target.next().value?.set(part);
  }

  /** Views of one row in canonical order: for each layer attShift, wkv, ffnShift. */
  *#canonicalParts({ buffers, row }: StateRow): Generator<Float32Array, undefined> {
    const { layers, width, headSize } = this.#config;
    const perWkv = width * headSize;
    for (let layer = 0; layer < layers; layer++) {
      const shift = (row * layers + layer) * 2 * width;
      yield buffers.shift.subarray(shift, shift + width);
      yield buffers.wkv[layer]!.subarray(row * perWkv, (row + 1) * perWkv);
      yield buffers.shift.subarray(shift + width, shift + 2 * width);
    }
    return undefined;
  }
}

interface StateRow {
  readonly buffers: StateBuffers;
  readonly row: number;
}

function rowOf({ slots, buffers }: StateBatch, slot: SlotIndex): StateRow {
  return { buffers, row: slots.indexOf(slot) };
}

/** Buffers that nobody uses: at most `rowsMax` rows, the longest unused go first. */
class BufferPool {
  readonly #config: ModelConfig;
  readonly #rowsMax: number;
  readonly #unused: StateBuffers[] = [];

  constructor(config: ModelConfig, rowsMax: number) {
    this.#config = config;
    this.#rowsMax = rowsMax;
  }

  /** Holds whatever numbers its last user left. */
  take(rows: number): StateBuffers {
    const index = this.#unused.findLastIndex((buffers) => buffers.rows === rows);
    return index < 0 ? this.#allocate(rows) : this.#unused.splice(index, 1)[0]!;
  }

  give(buffers: StateBuffers): void {
    this.#unused.push(buffers);
    let rows = this.#unused.reduce((sum, unused) => sum + unused.rows, 0);
    while (rows > this.#rowsMax) {
      const oldest = this.#unused.shift()!;
      rows -= oldest.rows;
      free(oldest);
    }
  }

  clear(): void {
    for (const buffers of this.#unused.splice(0)) free(buffers);
  }

  #allocate(rows: number): StateBuffers {
    const { layers, width, headSize } = this.#config;
    const shift = new Float32Array(rows * layers * 2 * width);
    const perLayer = rows * width * headSize;
    const wkv = Array.from({ length: layers }, () => new Float32Array(perLayer));
    return { rows, shift, wkv };
  }
}

/** Gives the memory back now and not when it is collected; views of it are empty from then on. */
function free({ shift, wkv }: StateBuffers): void {
  for (const { buffer } of [shift, ...wkv]) (buffer as ArrayBuffer).transfer(0);
}

function sameSlots(a: readonly SlotIndex[], b: readonly SlotIndex[]): boolean {
  return a.length === b.length && a.every((slot, row) => slot === b[row]);
}
