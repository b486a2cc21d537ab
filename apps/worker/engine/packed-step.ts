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
  /** By slot. */
  readonly #told: SampleOptions[] = [];

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
      if (sample.earlier === undefined && isSame(sample, this.#told[slot])) continue;
      this.#told[slot] = sample;
      samplings.push({ slot, sample });
    }
    return { numbers, samplings };
  }
}

export class StepUnpacker {
  /** By slot: one object for all draws of a reply, with the number of the draw that is asked for. */
  readonly #told: { -readonly [Name in keyof SampleOptions]: SampleOptions[Name] }[] = [];

  unpack({ numbers, samplings }: PackedStep): Plan {
    const begun = new Map<number, SampleOptions>();
    for (const { slot, sample } of samplings) {
      const { earlier, ...lasting } = sample;
      this.#told[slot] = lasting;
      if (earlier !== undefined) begun.set(slot, sample);
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
      const told = draw === noDraw ? undefined : this.#told[slot];
      const want = "none";
      if (told === undefined) {
        rows.push({ slot, tokens, want });
      } else {
        told.draw = draw;
        rows.push({ slot, tokens, want, sample: begun.get(slot) ?? told });
      }
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
  if (a === b) return true;
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
