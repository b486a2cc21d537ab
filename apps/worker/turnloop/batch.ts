/**
 * The turn loop's heart: all running replies, one step after another.
 *
 * It owns the order of steps and nothing else: slots belong to the caller, who promises that two
 * rows never share one. A row leaves the batch when its reply is done, was cancelled, or its logits
 * were not finite; its mates never notice.
 */
import type { PlanRow } from "#kernels/backends/contract.ts";
import type { Engine } from "../engine/engine.ts";
import { learnCosts, type StepCosts } from "../scheduler/costs.ts";
import { allot, prefillBudget } from "../scheduler/scheduler.ts";
import type { Feed, Reply } from "./reply.ts";

const snapshotTokensMin = 64;
const snapshotTokensMax = 4096;

export type RowEnd = "done" | "cancelled" | "not-finite";

interface Row {
  readonly slot: number;
  readonly reply: Reply;
  readonly onProgress: () => void;
  readonly resolve: (outcome: RowOutcome) => void;
  readonly reject: (error: Error) => void;
  /** Whole: a fraction would be an object of its own, made anew with each token. */
  computeUs: number;
  cancelled: boolean;
}

export interface RowOutcome {
  readonly end: RowEnd;
  /** This row's share of the steps it was in, by tokens. */
  readonly computeMs: number;
}

export interface RunningRow {
  readonly outcome: Promise<RowOutcome>;
  /** Leaves the batch before the next step; the slot's state is then undefined. */
  readonly cancel: () => void;
}

export interface StepReport {
  readonly rows: number;
  readonly decodeTokens: number;
  readonly prefillTokens: number;
  readonly computeMs: number;
}

/** Written out: copying what is left of an object takes a microsecond, for each token of each reply. */
function planRow(slot: number, { sample, tokens }: Feed): PlanRow {
  const want = "none";
  return sample === undefined ? { slot, want, tokens } : { slot, want, tokens, sample };
}

export class Batch {
  readonly #engine: Pick<Engine, "settle" | "step">;
  readonly #onStep: (report: StepReport) => void;
  #rows: Row[] = [];
  #costs: StepCosts | null = null;
  #looping = false;

  constructor(engine: Pick<Engine, "settle" | "step">, onStep: (report: StepReport) => void) {
    this.#engine = engine;
    this.#onStep = onStep;
  }

  get running(): number {
    return this.#rows.length;
  }

  /** A snapshot is due after as many tokens as can be replayed in about a second. */
  get snapshotTokens(): number {
    const perSecond = 1000 / (this.#costs?.prefillTokenMs || 1000 / snapshotTokensMin);
    return Math.max(snapshotTokensMin, Math.min(snapshotTokensMax, Math.floor(perSecond)));
  }

  /** What it takes to feed so many tokens again, ms; as far as is known. */
  replayMs(tokens: number): number {
    return tokens * (this.#costs?.prefillTokenMs ?? 0);
  }

  /** Adds a row; `onProgress` is called after every step that drew a token for it. */
  run(slot: number, reply: Reply, onProgress: () => void): RunningRow {
    const { promise, resolve, reject } = Promise.withResolvers<RowOutcome>();
    const row: Row = { slot, reply, onProgress, resolve, reject, computeUs: 0, cancelled: false };
    this.#rows.push(row);
    if (!this.#looping) void this.#loop();
    return {
      outcome: promise,
      cancel: () => {
        row.cancelled = true;
      },
    };
  }

  async #loop(): Promise<void> {
    this.#looping = true;
    try {
      while (this.#rows.length > 0) {
        this.#leave((row) => row.cancelled, "cancelled");
        this.#leave((row) => row.reply.done, "done");
        if (this.#rows.length > 0) await this.#step();
      }
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      for (const row of this.#rows.splice(0)) row.reject(failure);
    } finally {
      this.#looping = false;
    }
  }

  async #step(): Promise<void> {
    const prompts = this.#rows.filter(({ reply }) => !reply.decoding);
    const demands = prompts.map(({ reply }, row) => ({
      row,
      kind: "prefill" as const,
      tokens: reply.waiting,
    }));
    const decoding = this.#rows.length - prompts.length;
    const shares = allot(demands, prefillBudget(decoding, this.#costs));
    const fed: Row[] = [];
    const rows: PlanRow[] = [];
    const ending: Row[] = [];
    let [decodeTokens, prefillTokens, asked] = [0, 0, 0];
    for (const row of this.#rows) {
      const { reply, slot } = row;
      const count = reply.decoding ? reply.waiting : shares[asked++]!;
      if (reply.decoding) decodeTokens += count;
      else prefillTokens += count;
      if (count === 0) continue;
      const feed = reply.take(count);
      fed.push(row);
      rows.push(planRow(slot, feed));
      if (feed.endsBlock) ending.push(row);
    }
    const { results, computeMs } = await this.#engine.step({ rows });
    const broken = new Set(await this.#settle(ending));
    this.#costs = learnCosts(this.#costs, { decodeTokens, prefillTokens, ms: computeMs });
    this.#onStep({ rows: fed.length, decodeTokens, prefillTokens, computeMs });
    const tokenUs = (1000 * computeMs) / (decodeTokens + prefillTokens);
    for (const [index, row] of fed.entries()) {
      row.computeUs += Math.round(tokenUs * rows[index]!.tokens.length);
      const result = results[index];
      if (result === undefined || result.slot !== row.slot) throw new Error("results out of order");
      if (!result.finite) broken.add(row);
      if (broken.size > 0 && broken.has(row)) continue;
      row.reply.accept(result.token);
      if (result.token !== null) row.onProgress();
    }
    if (broken.size > 0) this.#leave((row) => broken.has(row), "not-finite");
  }

  /** Of rows whose block has ended; returns those whose state is not finite. */
  async #settle(ended: readonly Row[]): Promise<Row[]> {
    if (ended.length === 0) return [];
    const finite = await this.#engine.settle(ended.map(({ slot }) => slot));
    return ended.filter((_, index) => finite[index] !== true);
  }

  #leave(which: (row: Row) => boolean, end: RowEnd): void {
    const leaving = this.#rows.filter(which);
    if (leaving.length === 0) return;
    this.#rows = this.#rows.filter((row) => !which(row));
    for (const row of leaving) row.resolve({ end, computeMs: row.computeUs / 1000 });
  }
}
