/** The engine thread's stand-in: the small model in slots, each call taking its time. */
import type { EngineInfo, StepOutcome } from "#apps/worker/engine/protocol.ts";
import type { CanonicalState, Plan, RowResult } from "#kernels/backends/contract.ts";
import { config, draw, emptyState, feed, isPoisoned } from "./model.ts";
import type { SimProcess } from "./process.ts";
import type { World } from "./world.ts";

/** Reported costs, such that a snapshot is due after the fewest tokens. */
const decodeMs = 4;
const prefillMs = 16;

export class SimEngine {
  readonly info: EngineInfo;
  readonly #world: World;
  readonly #process: SimProcess;
  readonly #states: Float32Array[];
  readonly #onPoison: () => void;

  constructor(
    world: World,
    process: SimProcess,
    options: { readonly slots: number; readonly onPoison: () => void },
  ) {
    const { onPoison, slots } = options;
    this.info = { name: "cpu", config, numericClass: "sim/f32", stateCodec: "f32", slots };
    this.#world = world;
    this.#process = process;
    this.#states = Array.from({ length: slots }, emptyState);
    this.#onPoison = onPoison;
  }

  step(plan: Plan): Promise<StepOutcome> {
    return this.#call(this.#world.random.between(5, 40), () => {
      const poisoned = plan.rows.some(({ tokens }) => isPoisoned(tokens));
      if (poisoned) return null;
      const results = plan.rows.map(({ sample, slot, tokens }): RowResult => {
        const state = this.#state(slot);
        feed(state, tokens);
        const token = sample === undefined ? null : draw(state, sample);
        return { slot, logits: null, token, finite: true };
      });
      const fed = plan.rows.reduce((sum, { tokens }) => sum + tokens.length, 0);
      const computeMs = decodeMs + (fed > plan.rows.length ? fed * prefillMs : 0);
      return { results, computeMs };
    });
  }

  settle(slots: readonly number[]): Promise<readonly boolean[]> {
    return this.#call(1, () => slots.map((slot) => this.#state(slot).every(Number.isFinite)));
  }

  readState(slot: number): Promise<CanonicalState> {
    return this.#call(1, () => Float32Array.from(this.#state(slot)));
  }

  writeState(slot: number, state: CanonicalState | null): Promise<void> {
    return this.#call(1, () => {
      this.#states[slot] = state === null ? emptyState() : Float32Array.from(state);
    });
  }

  #state(slot: number): Float32Array {
    const state = this.#states[slot];
    if (state === undefined) throw new RangeError(`no slot ${slot}`);
    return state;
  }

  /** Null: the model has crashed, and its process with it. */
  #call<T>(ms: number, work: () => T | null): Promise<T> {
    return new Promise((resolve) => {
      this.#world.after(ms, () =>
        this.#process.deliver(() => {
          const result = work();
          if (result === null) this.#onPoison();
          else resolve(result);
        }),
      );
    });
  }
}
