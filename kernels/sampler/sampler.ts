/**
 * Draws tokens from logits: the plain twin of the sampling op, with the semantics of the RWKV
 * reference pipeline (ChatRWKV, `rwkv/utils.py`):
 *
 * 1. for every token already drawn in this reply, logit −= presence + count · frequency;
 * 2. top-p is cut on the temperature-1 softmax, equals of the last one kept;
 * 3. what stays is weighted p^(1/T) and one token is drawn; T = 0 takes the largest logit;
 * 4. all counts decay, then the drawn token's count grows by 1. So frequency fades, presence does not.
 *
 * Owns the penalty memory of each slot, which begins at draw 0 of a reply, or with the draws that were
 * made elsewhere. Promises that equal logits,
 * options and earlier draws give an equal token, and that a row with NaN or ±Inf gives none.
 */
import type { SampleOptions, SlotIndex } from "#kernels/backends/contract.ts";
import { exponential } from "./exponential.ts";
import { allocateNucleusScratch, type NucleusScratch, selectNucleus } from "./nucleus.ts";
import { uniform } from "./random.ts";

/** Stands for −Inf: sorts below every real logit, yet is finite. */
const bannedLogit = -3.4028234663852886e38;

export class Sampler {
  /** Per slot: token → decayed count. Presence is the key's being there. */
  readonly #drawn: Map<number, number>[];
  readonly #row: Float32Array<ArrayBuffer>;
  readonly #candidates: Uint32Array;
  readonly #weights: Float64Array;
  readonly #scratch: NucleusScratch;

  constructor(slots: number, vocabSize: number) {
    this.#drawn = Array.from({ length: slots }, () => new Map());
    this.#row = new Float32Array(vocabSize);
    this.#candidates = new Uint32Array(vocabSize);
    this.#weights = new Float64Array(vocabSize);
    this.#scratch = allocateNucleusScratch(vocabSize);
  }

  /**
   * Null when a logit is not finite or all tokens are banned; the memory then stays as it was.
   * `logits` is not written to.
   */
  draw(slot: SlotIndex, logits: Float32Array, options: SampleOptions): number | null {
    checkSampleOptions(options);
    const drawn = this.#drawn[slot];
    if (drawn === undefined) throw new RangeError(`slot ${slot} of ${this.#drawn.length}`);
    if (logits.length !== this.#row.length) {
      throw new RangeError(`${logits.length} logits, expected ${this.#row.length}`);
    }
    if (!isFiniteRow(logits)) return null;
    if (options.draw === 0 || options.earlier !== undefined) drawn.clear();
    for (const token of options.earlier ?? []) remember(drawn, token, options.penaltyDecay);

    const row = this.#row;
    row.set(logits);
    for (const [token, count] of drawn) {
      row[token]! -= options.presencePenalty + count * options.frequencyPenalty;
    }
    for (const token of options.banned ?? []) row[token] = bannedLogit;
    const best = indexOfMaximum(row);
    if (row[best] === bannedLogit) return null;

    const token = options.temperature === 0 ? best : this.#drawFrom(row[best]!, options);
    remember(drawn, token, options.penaltyDecay);
    return token;
  }

  #drawFrom(maximum: number, options: SampleOptions): number {
    const { topP, seed, draw } = options;
    const row = this.#row;
    const tokens = this.#candidates;
    const weights = this.#weights;
    const nucleus = { maximum, topP, scratch: this.#scratch };
    const count = topP < 1 ? selectNucleus(tokens, row, nucleus) : selectAll(tokens);
    // Bounded, so that 0 times it is 0 at any temperature.
    const sharpness = Math.min(1 / options.temperature, Number.MAX_VALUE);
    let total = 0;
    for (let i = 0; i < count; i++) {
      const weight = exponential((maximum - row[tokens[i]!]!) * sharpness);
      weights[i] = weight;
      total += weight;
    }
    let rest = uniform(seed, draw) * total;
    let chosen = 0;
    for (let i = 0; i < count && rest >= 0; i++) {
      if (weights[i] === 0) continue;
      chosen = i;
      rest -= weights[i]!;
    }
    return tokens[chosen]!;
  }

  static {
    // While a class has one instance, V8 compiles its arrays into the code as constants, and that
    // code is half again as slow (0.75 against 0.51 ms for a World row, for as long as it runs). A
    // second instance that has drawn a few times keeps the code general; 20 draws take 0.1 ms.
    const second = new Sampler(1, 64);
    const row = Float32Array.from({ length: 64 }, (_, token) => token / 8);
    const flat = { presencePenalty: 0, frequencyPenalty: 0, penaltyDecay: 1 };
    for (let draw = 0; draw < 20; draw++) {
      second.draw(0, row, { seed: "", draw, temperature: 1.5, topP: 0.5, ...flat });
    }
  }
}

function remember(drawn: Map<number, number>, token: number, decay: number): void {
  for (const [earlier, count] of drawn) drawn.set(earlier, count * decay);
  drawn.set(token, (drawn.get(token) ?? 0) + 1);
}

function selectAll(tokens: Uint32Array): number {
  for (let token = 0; token < tokens.length; token++) tokens[token] = token;
  return tokens.length;
}

/** @throws RangeError for options outside their meaning, before anything has changed */
export function checkSampleOptions(options: SampleOptions): void {
  const { draw, temperature, topP, presencePenalty, frequencyPenalty, penaltyDecay } = options;
  if (!Number.isSafeInteger(draw) || draw < 0) throw new RangeError(`draw ${draw}`);
  if (options.earlier !== undefined && options.earlier.length !== draw) {
    throw new RangeError(`draw ${draw} after ${options.earlier.length}`);
  }
  if (!(temperature >= 0 && temperature < Infinity)) {
    throw new RangeError(`temperature ${temperature}`);
  }
  if (!(topP >= 0 && topP <= 1)) throw new RangeError(`topP ${topP}`);
  if (!(penaltyDecay >= 0 && penaltyDecay <= 1)) throw new RangeError(`decay ${penaltyDecay}`);
  if (!Number.isFinite(presencePenalty) || !Number.isFinite(frequencyPenalty)) {
    throw new RangeError(`penalties ${presencePenalty}, ${frequencyPenalty}`);
  }
}

/** Whether no element is NaN or ±Inf. */
export function isFiniteRow(logits: Float32Array): boolean {
  // x − x is 0 for a finite x and NaN otherwise; four sums hide the latency of an addition.
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let i = 0;
  for (; i + 4 <= logits.length; i += 4) {
    a += logits[i]! - logits[i]!;
    b += logits[i + 1]! - logits[i + 1]!;
    c += logits[i + 2]! - logits[i + 2]!;
    d += logits[i + 3]! - logits[i + 3]!;
  }
  for (; i < logits.length; i++) a += logits[i]! - logits[i]!;
  return a + b + c + d === 0;
}

/** The lowest index among equals. */
function indexOfMaximum(row: Float32Array): number {
  let best = 0;
  let maximum = row[0]!;
  for (let i = 1; i < row.length; i++) {
    if (row[i]! > maximum) {
      maximum = row[i]!;
      best = i;
    }
  }
  return best;
}
