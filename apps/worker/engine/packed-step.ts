/**
 * A step and its outcome as they cross the border between the threads: whole numbers in one buffer.
 *
 * Cloning a batch of row objects costs more than everything else that the platform does for a token.
 * How a row's draws are made is told once, with the first of a reply, and remembered on the other side.
 *
 * A row is `slot, tokens, draw or -1`, then its tokens; no logits come back, so none may be wanted.
 */
import assert from "node:assert/strict";
import type { Plan, PlanRow, RowResult, SampleOptions } from "#kernels/backends/contract.ts";

export interface PackedStep {
  readonly numbers: Int32Array<ArrayBuffer>;
  /** For the slots whose draws are made in another way than those before. */
  readonly samplings: readonly { readonly slot: number; readonly sample: SampleOptions }[];
}

const headNumbers = 3;
const noDraw = -1;

/** Instead of a token: none was asked for. */
const noToken = -1;
/** The same: the logits are not finite. */
const notFinite = -2;

export class StepPacker {
  readonly #told = new Map<number, SampleOptions>();

  pack({ rows }: Plan): PackedStep {
    let length = 0;
    for (const { tokens } of rows) length += headNumbers + tokens.length;
    const numbers = new Int32Array(length);
    const samplings: { slot: number; sample: SampleOptions }[] = [];
    let at = 0;
    for (const { slot, tokens, sample, want } of rows) {
      assert(want === "none", "logits stay in the engine");
      numbers[at++] = slot;
      numbers[at++] = tokens.length;
      numbers[at++] = sample?.draw ?? noDraw;
      for (const token of tokens) numbers[at++] = token;
      if (sample === undefined) continue;
      if (sample.earlier === undefined && isSame(sample, this.#told.get(slot))) continue;
      this.#told.set(slot, sample);
      samplings.push({ slot, sample });
    }
    return { numbers, samplings };
  }
}

export class StepUnpacker {
  readonly #told = new Map<number, SampleOptions>();

  unpack({ numbers, samplings }: PackedStep): Plan {
    const earlier = new Map<number, Pick<SampleOptions, "earlier">>();
    for (const { slot, sample } of samplings) {
      const { earlier: draws, ...lasting } = sample;
      this.#told.set(slot, lasting);
      if (draws !== undefined) earlier.set(slot, { earlier: draws });
    }
    const rows: PlanRow[] = [];
    for (let at = 0; at < numbers.length;) {
      const slot = numbers[at]!;
      const count = numbers[at + 1]!;
      const draw = numbers[at + 2]!;
      at += headNumbers;
      // Nearly all rows have one.
      const tokens = count === 1 ? [numbers[at]!] : Array.from(numbers.subarray(at, at + count));
      at += count;
      const told = draw === noDraw ? undefined : this.#told.get(slot);
      const want = "none";
      if (told === undefined) rows.push({ slot, tokens, want });
      else rows.push({ slot, tokens, want, sample: { ...told, ...earlier.get(slot), draw } });
    }
    return { rows };
  }
}

export function packResults(results: readonly RowResult[]): Int32Array<ArrayBuffer> {
  const tokens = new Int32Array(results.length);
  for (const [index, { token, finite }] of results.entries()) {
    tokens[index] = finite ? (token ?? noToken) : notFinite;
  }
  return tokens;
}

export function unpackResults(tokens: Int32Array, { rows }: Plan): RowResult[] {
  return rows.map(({ slot }, index) => {
    const token = tokens[index]!;
    return { slot, logits: null, token: token < 0 ? null : token, finite: token !== notFinite };
  });
}

/** All but the number of the draw and the draws before it, which are told with the one they belong to. */
function isSame(a: SampleOptions, b: SampleOptions | undefined): boolean {
  return (
    b !== undefined &&
    a.seed === b.seed &&
    a.temperature === b.temperature &&
    a.topP === b.topP &&
    a.presencePenalty === b.presencePenalty &&
    a.frequencyPenalty === b.frequencyPenalty &&
    a.penaltyDecay === b.penaltyDecay &&
    a.banned === b.banned
  );
}
