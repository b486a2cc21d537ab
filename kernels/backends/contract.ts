/**
 * The numeric contract: what every backend (reference, onnx, cpu, cuda) promises.
 *
 * A backend owns the weights and `slots` live states, and belongs to one thread: only
 * `apps/worker/engine` puts it on a thread of its own. It knows no conversation, text or clock.
 * States are read and written synchronously; a step is a promise, because onnxruntime-node offers
 * no synchronous run. One step at a time: until its promise settles, no other method may be called.
 *
 * Promises, checked for every backend by one suite (`test/contract/backend.suite.ts`):
 * - a row's logits and state are bit-equal whether it runs alone or with any batch mates, where
 *   `chunkExact` is true (it is not for onnx in blocks of 128, nor in 4 bits without AVX-512);
 * - feeding tokens in any split gives the same state as feeding them at once, up to the numeric
 *   class's stated tolerance (`chunkExact` says whether that tolerance is zero);
 * - a row with non-finite logits gets no token, says so, and leaves its mates untouched;
 * - `writeState(slot, null)` zeroes the slot: nothing of the former owner remains.
 */
import type { ModelConfig } from "#kernels/model/config.ts";
import type { OpenModelOptions } from "#kernels/model/model.ts";

/** Index of a live state inside a backend, `0 … slots - 1`. */
export type SlotIndex = number;

/**
 * The canonical state of one conversation, always fp32.
 * Element order per layer: `attShift[D]`, `wkv[H][N_k][N_v]`, `ffnShift[D]`; layers ascending.
 * Length `L · D · (N + 2)`. See `kernels/state/format.md`.
 */
export type CanonicalState = Float32Array;

/**
 * How to draw one token. Semantics of the RWKV reference pipeline: presence does not decay,
 * frequency does; top-p is cut on the temperature-1 distribution, then p^(1/T).
 */
export interface SampleOptions {
  /** Identifies the reply; equal seed and draws give equal tokens within one numeric class. */
  readonly seed: string;
  /** Number of this draw inside the reply; 0 clears the slot's penalty memory. */
  readonly draw: number;
  /**
   * The tokens of draws 0 … `draw` − 1, for a reply that was begun on another slot: the slot's penalty
   * memory becomes what they leave behind.
   */
  readonly earlier?: readonly number[];
  /** 0 means greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** Subtracted once from the logit of every token already drawn in this reply. */
  readonly presencePenalty: number;
  /** Subtracted times the decayed count of the token in this reply. */
  readonly frequencyPenalty: number;
  /** Factor applied to all counts after each draw, e.g. 0.996. */
  readonly penaltyDecay: number;
  /** Token ids that may never be drawn. */
  readonly banned?: readonly number[];
}

export interface PlanRow {
  readonly slot: SlotIndex;
  /** At least one token; fed in order on top of the slot's state. */
  readonly tokens: readonly number[];
  /** Which logits to return: none, those after the last token, or those after every token. */
  readonly want: "none" | "last" | "all";
  /** Draw a token from the logits after the last token. Independent of `want`. */
  readonly sample?: SampleOptions;
}

/** What one step will do. Slots are distinct; rows may differ in length. */
export interface Plan {
  readonly rows: readonly PlanRow[];
}

export interface RowResult {
  readonly slot: SlotIndex;
  /** `[V]` for `last`, `[T · V]` row-major for `all`, null for `none`. Owned by the caller. */
  readonly logits: Float32Array | null;
  /** The drawn token; null when nothing was asked or the logits were not finite. */
  readonly token: number | null;
  /**
   * False when `sample` or logits were asked for and any of the logits is NaN or ±Inf. The slot's
   * state is then undefined: the caller must not read it and must write it before the next use.
   */
  readonly finite: boolean;
}

export interface BackendLimits {
  /** Number of live states. */
  readonly slots: number;
  /** Intra-operation threads; backends without threads ignore it. */
  readonly threads: number;
}

export interface Backend {
  readonly name: "reference" | "onnx" | "cpu" | "cuda";
  readonly config: ModelConfig;
  readonly limits: BackendLimits;
  /**
   * Backend + instruction set + quantisation, e.g. `onnx/x64-avx512vnni/none`. Within one class the
   * same plan gives the same bits; across classes the ledger decides.
   */
  readonly numericClass: string;
  /** True when the same tokens give bit-equal states in any split and any company. */
  readonly chunkExact: boolean;
  writeState(slot: SlotIndex, state: CanonicalState | null): void;
  /** A copy that is the caller's: `into` where given, all of it overwritten, else a fresh one. */
  readState(slot: SlotIndex, into?: CanonicalState): CanonicalState;
  /**
   * One forward pass over all rows; results in the order of `plan.rows`. Rejects only on programmer
   * errors (bad slot, bad token id, another step still running), and then no state has changed.
   */
  step(plan: Plan): Promise<RowResult[]>;
  close(): void;
}

/** Opens a backend on a model directory and chooses which of its weights to run. */
export type OpenBackend = (
  modelDirectory: string,
  limits: BackendLimits,
  options?: OpenModelOptions,
) => Promise<Backend>;
