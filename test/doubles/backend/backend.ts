/**
 * A backend that computes nothing and forgets nothing: a stand-in where a test needs the real worker
 * around it, replies of a known length and pace, and rows that misbehave on order. See script.ts.
 *
 * It keeps the numeric contract: the state is a function of the tokens fed, in any split and beside
 * any mates, and is all that a conversation leaves behind.
 */
import { setTimeout as sleep } from "node:timers/promises";
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
import { openModel } from "#kernels/model/model.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { emptyMemory, feed, type Memory, ordersIn, type Orders, scriptOf } from "./script.ts";

const misbehavesAtDraw = 2;

interface Slot {
  memory: Memory;
  /** Tokens fed since the state was written or a reply begun, and what the memory was then. */
  recent: number[];
  before: Memory;
  orders: Orders;
  script: readonly number[];
}

/** As `openReference`, for a model with a vocabulary and a state of at least three numbers. */
export const openScripted: OpenBackend = async (modelDirectory, limits) => {
  const model = await openModel(modelDirectory);
  try {
    if (model.vocabularyPath === null) throw new RangeError("the model has no vocabulary");
    return new ScriptedBackend(model.config, limits, Tokenizer.open(model.vocabularyPath));
  } finally {
    model.close();
  }
};

class ScriptedBackend implements Backend {
  readonly name = "reference";
  readonly numericClass = "scripted";
  readonly chunkExact = true;
  readonly config: ModelConfig;
  readonly limits: BackendLimits;
  readonly #tokenizer: Tokenizer;
  readonly #slots: Slot[];

  constructor(config: ModelConfig, limits: BackendLimits, tokenizer: Tokenizer) {
    this.config = config;
    this.limits = limits;
    this.#tokenizer = tokenizer;
    this.#slots = Array.from({ length: limits.slots }, () => emptySlot());
  }

  writeState(slot: SlotIndex, state: CanonicalState | null): void {
    checkSlot(slot, this.limits);
    const memory: Memory =
      state === null ? emptyMemory : [state[0] ?? 0, state[1] ?? 0, state[2] ?? 0];
    this.#slots[slot] = { ...emptySlot(), memory, before: memory };
  }

  readState(slot: SlotIndex): CanonicalState {
    checkSlot(slot, this.limits);
    const state = new Float32Array(stateLength(this.config));
    state.set(this.#slots[slot]?.memory ?? emptyMemory);
    return state;
  }

  async step(plan: Plan): Promise<RowResult[]> {
    checkPlan(plan, this.config, this.limits);
    const results = plan.rows.map((row) => this.#row(row));
    const stepMs = Math.max(...plan.rows.map(({ slot }) => this.#slots[slot]?.orders.stepMs ?? 0));
    if (stepMs > 0) await sleep(stepMs);
    return results;
  }

  close(): void {
    this.#slots.length = 0;
  }

  #row({ slot, tokens, sample }: PlanRow): RowResult {
    const held = this.#slots[slot] ?? emptySlot();
    for (const token of tokens) held.memory = feed(held.memory, token);
    held.recent.push(...tokens);
    if (sample === undefined) return { slot, logits: null, token: null, finite: true };
    // Another worker may have begun the reply: its words have been fed behind the prompt.
    if (sample.draw === 0 || sample.earlier !== undefined) {
      const prompt = held.recent.slice(0, held.recent.length - sample.draw);
      held.orders = ordersIn(this.#lastMessage(prompt));
      held.script = scriptOf(prompt.reduce(feed, held.before), held.orders, this.#tokenizer);
      held.before = held.memory;
      held.recent = [];
    }
    if (sample.draw === misbehavesAtDraw) {
      if (held.orders.dies) process.kill(process.pid, "SIGKILL");
      if (held.orders.notFinite) return { slot, logits: null, token: null, finite: false };
    }
    return { slot, logits: null, token: held.script[sample.draw] ?? 0, finite: true };
  }

  #lastMessage(tokens: readonly number[]): string {
    const text = Buffer.from(this.#tokenizer.decode(tokens)).toString();
    return text.slice(text.lastIndexOf("User: "));
  }
}

function emptySlot(): Slot {
  return { memory: emptyMemory, recent: [], before: emptyMemory, orders: ordersIn(""), script: [] };
}
