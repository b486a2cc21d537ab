/** The sampler draws what a plain one, with a full sort in fp64, draws from the same row. */
import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SampleOptions } from "#kernels/backends/contract.ts";
import { exponential } from "#kernels/sampler/exponential.ts";
import { uniform } from "#kernels/sampler/random.ts";
import { Sampler } from "#kernels/sampler/sampler.ts";

const plain: SampleOptions = {
  seed: "seed",
  draw: 0,
  temperature: 1,
  topP: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  penaltyDecay: 1,
};

/** The semantics word for word: no bins, no shortcuts. */
class PlainSampler {
  readonly #counts = new Map<number, number>();

  /** The token, or "unsure" where rounding in the last digits may decide. */
  draw(logits: Float32Array, options: SampleOptions): number | "unsure" {
    const row = [...logits];
    for (const [token, count] of this.#counts) {
      const penalty = options.presencePenalty + count * options.frequencyPenalty;
      row[token] = Math.fround(row[token]! - penalty);
    }
    for (const token of options.banned ?? []) row[token] = -Infinity;
    const chosen = this.#choose(row, options);
    if (chosen === "unsure") return chosen;
    for (const [token, count] of this.#counts) {
      this.#counts.set(token, count * options.penaltyDecay);
    }
    this.#counts.set(chosen, (this.#counts.get(chosen) ?? 0) + 1);
    return chosen;
  }

  #choose(row: number[], { temperature, topP, seed, draw }: SampleOptions): number | "unsure" {
    const maximum = Math.max(...row);
    if (temperature === 0) return row.indexOf(maximum);
    const total = row.reduce((sum, logit) => sum + Math.exp(logit - maximum), 0);
    const sorted = [...row].sort((a, b) => b - a);
    let cut = -Infinity;
    let reached = 0;
    if (topP < 1) {
      for (const logit of sorted) {
        cut = logit;
        reached += Math.exp(logit - maximum) / total;
        if (Math.abs(reached - topP) < 1e-9) return "unsure";
        if (reached >= topP) break;
      }
    }
    const weights = row.map((logit) =>
      logit < cut ? 0 : Math.exp((logit - maximum) / temperature),
    );
    let rest = uniform(seed, draw) * weights.reduce((sum, weight) => sum + weight, 0);
    for (const [token, weight] of weights.entries()) {
      if (Math.abs(rest - weight) < 1e-9) return "unsure";
      if (rest < weight) return token;
      rest -= weight;
    }
    return "unsure";
  }
}

/** Evenly spread numbers: fast-check's own floats crowd around 0. */
function spread(low: number, high: number): fc.Arbitrary<number> {
  return fc.integer({ min: 0, max: 100_000 }).map((step) => low + ((high - low) * step) / 100_000);
}

const rows = fc.integer({ min: 1, max: 400 }).chain((length) => {
  const sized = { minLength: length, maxLength: length };
  return fc
    .oneof(
      fc.array(spread(-10, 10), sized),
      fc.array(fc.integer({ min: -3, max: 3 }), sized),
      fc.array(fc.oneof(spread(-2, 2), spread(-200, 20)), sized),
      fc.array(fc.constantFrom(0, 1.5), sized),
      // Many in one bin of the nucleus search.
      fc.array(spread(-0.02, 0.02), sized),
      fc.array(spread(-1e30, 1e30), sized),
    )
    .map((numbers) => Float32Array.from(numbers));
});

const optionsOf = fc.record({
  seed: fc.string(),
  temperature: fc.oneof(fc.constantFrom(0, 1, 1e-300), spread(0.05, 5)),
  topP: fc.oneof(fc.constantFrom(0, 1), spread(0, 1)),
  presencePenalty: fc.constantFrom(0, 0.4, -0.3),
  frequencyPenalty: fc.constantFrom(0, 0.4, 1),
  penaltyDecay: fc.constantFrom(0, 0.5, 0.996, 1),
});

test("draws what the plain sampler draws, reply after reply", () => {
  let compared = 0;
  const property = fc.property(rows, optionsOf, (logits, options) => {
    const sampler = new Sampler(1, logits.length);
    for (let reply = 0; reply < 2; reply++) {
      const twin = new PlainSampler();
      for (let draw = 0; draw < 6; draw++) {
        const expected = twin.draw(logits, { ...options, draw });
        if (expected === "unsure") break;
        expect(sampler.draw(0, logits, { ...options, draw })).toBe(expected);
        compared++;
      }
    }
  });
  fc.assert(property, { numRuns: 600 });
  expect(compared).toBeGreaterThan(1000);
});

test("draws in proportion to p^(1/T) inside the nucleus", () => {
  const probabilities = [0.5, 0.3, 0.15, 0.05];
  const logits = Float32Array.from(probabilities, Math.log);
  const sampler = new Sampler(1, 4);
  const counts = [0, 0, 0, 0];
  const draws = 20_000;
  for (let i = 0; i < draws; i++) {
    const options = { ...plain, seed: `s${i}`, temperature: 2, topP: 0.9 };
    counts[sampler.draw(0, logits, options)!]!++;
  }
  const weights = [0.5, 0.3, 0.15, 0].map(Math.sqrt);
  const total = weights.reduce((sum, weight) => sum + weight);
  counts.forEach((count, token) => {
    const share = weights[token]! / total;
    const deviation = Math.sqrt((share * (1 - share)) / draws);
    expect(Math.abs(count / draws - share)).toBeLessThanOrEqual(5 * deviation);
  });
});

/** Which tokens 400 draws produce. */
function drawable(logits: readonly number[], topP: number): number[] {
  const sampler = new Sampler(1, logits.length);
  const row = Float32Array.from(logits);
  const drawn = Array.from({ length: 400 }, (_, i) =>
    sampler.draw(0, row, { ...plain, seed: `s${i}`, topP, temperature: 5 }),
  );
  return [...new Set(drawn)].map(Number).sort((a, b) => a - b);
}

describe("the nucleus", () => {
  test("keeps the equals of its last token", () => {
    expect(drawable([2, 2, 2, 0], 0.1)).toEqual([0, 1, 2]);
    expect(drawable([3, 2, 2, 0], 0.7)).toEqual([0, 1, 2]);
  });

  test("is the best token alone at top-p 0, everything at 1", () => {
    expect(drawable([0, 1, 3, 2], 0)).toEqual([2]);
    expect(drawable([0, 1, 3, 2], 1)).toEqual([0, 1, 2, 3]);
  });

  test("is cut before the temperature", () => {
    expect(drawable([5, 0, 0, 0], 0.95)).toEqual([0]);
  });
});

describe("penalties", () => {
  const greedy = { ...plain, temperature: 0 };

  test("presence stays when the counts have decayed, frequency goes", () => {
    const logits = Float32Array.from([3, 2, 0]);
    const sampler = new Sampler(2, 3);
    const presence = { ...greedy, presencePenalty: 2, penaltyDecay: 0 };
    const drawn = [0, 1, 2].map((draw) => sampler.draw(0, logits, { ...presence, draw }));
    expect(drawn).toEqual([0, 1, 0]);
    const frequency = { ...greedy, frequencyPenalty: 2, penaltyDecay: 0.25 };
    // Draw 1 sees 3 − 2 against 2; draw 2, the first count being a quarter, 3 − 0.5 against 2 − 2.
    expect([0, 1, 2].map((draw) => sampler.draw(1, logits, { ...frequency, draw }))).toEqual([
      0, 1, 0,
    ]);
  });

  test("begin anew at draw 0 and are a slot's own", () => {
    const logits = Float32Array.from([3, 2]);
    const options = { ...greedy, presencePenalty: 2 };
    const sampler = new Sampler(2, 2);
    expect(sampler.draw(0, logits, { ...options, draw: 0 })).toBe(0);
    expect(sampler.draw(1, logits, { ...options, draw: 1 })).toBe(0);
    expect(sampler.draw(0, logits, { ...options, draw: 1 })).toBe(1);
    expect(sampler.draw(0, logits, { ...options, draw: 0 })).toBe(0);
  });

  test("of a reply begun on another slot are what they would have been there", () => {
    const row = Float32Array.from({ length: 40 }, (_, token) => Math.sin(token) * 2);
    const penal = { presencePenalty: 0.4, frequencyPenalty: 0.3, penaltyDecay: 0.9 };
    const options = (draw: number): SampleOptions => ({ ...plain, ...penal, draw });
    const unbroken = new Sampler(2, 40);
    const tokens = Array.from({ length: 30 }, (_, draw) => unbroken.draw(0, row, options(draw))!);
    for (const cut of [1, 7, 29]) {
      const successor = new Sampler(2, 40);
      // Another reply's memory lies in the slot.
      for (let draw = 0; draw < 5; draw++) successor.draw(1, row, { ...options(draw), seed: "x" });
      const earlier = tokens.slice(0, cut);
      const later = tokens.slice(cut).map((_, index) => {
        const begun = index === 0 ? { earlier } : {};
        return successor.draw(1, row, { ...options(cut + index), ...begun });
      });
      expect(later).toEqual(tokens.slice(cut));
    }
    expect(() => unbroken.draw(0, row, { ...options(3), earlier: [1] })).toThrow(RangeError);
  });

  test("leave the caller's logits as they were", () => {
    const logits = Float32Array.from([3, 2]);
    const sampler = new Sampler(1, 2);
    const options = { ...greedy, presencePenalty: 2, banned: [1] };
    for (let draw = 0; draw < 3; draw++) sampler.draw(0, logits, { ...options, draw });
    expect([...logits]).toEqual([3, 2]);
  });
});

describe("no token", () => {
  test.each([NaN, Infinity, -Infinity])("from a row with %s, wherever it is", (poison) => {
    for (let at = 0; at < 7; at++) {
      const logits = new Float32Array(7).fill(1);
      logits[at] = poison;
      const sampler = new Sampler(1, 7);
      for (const temperature of [0, 1]) {
        const options = { ...plain, temperature, banned: [at] };
        expect(sampler.draw(0, logits, options)).toBeNull();
      }
    }
  });

  test("when all are banned; otherwise never a banned one", () => {
    const sampler = new Sampler(1, 3);
    const logits = Float32Array.from([9, 1, 0]);
    expect(sampler.draw(0, logits, { ...plain, banned: [0, 1, 2] })).toBeNull();
    for (let draw = 0; draw < 200; draw++) {
      expect(sampler.draw(0, logits, { ...plain, temperature: 9, draw, banned: [0] })).not.toBe(0);
    }
    expect(sampler.draw(0, logits, { ...plain, temperature: 0, banned: [0] })).toBe(1);
  });

  test("a refused row leaves the penalties as they were", () => {
    const sampler = new Sampler(1, 2);
    const options = { ...plain, temperature: 0, presencePenalty: 2 };
    const logits = Float32Array.from([3, 2]);
    sampler.draw(0, logits, options);
    expect(sampler.draw(0, Float32Array.from([NaN, 2]), { ...options, draw: 1 })).toBeNull();
    expect(sampler.draw(0, logits, { ...options, draw: 1 })).toBe(1);
  });

  test.each([
    { temperature: -1 },
    { temperature: Infinity },
    { topP: 1.1 },
    { topP: NaN },
    { draw: -1 },
    { draw: 0.5 },
    { penaltyDecay: 2 },
    { presencePenalty: NaN },
    { frequencyPenalty: Infinity },
  ])("but a RangeError for %o", (mistake) => {
    const sampler = new Sampler(1, 2);
    expect(() => sampler.draw(0, new Float32Array(2), { ...plain, ...mistake })).toThrow(
      RangeError,
    );
  });
});

test("greedy takes the lowest of equal tokens", () => {
  const logits = Float32Array.from([1, 4, 4, 2]);
  expect(new Sampler(1, 4).draw(0, logits, { ...plain, temperature: 0 })).toBe(1);
});

test("the random number is the documented hash", () => {
  const digest = createHash("sha256").update("eyrie-draw:7:añb").digest();
  const expected = Number(digest.readBigUInt64BE(0) >> 11n) / 2 ** 53;
  expect(uniform("añb", 7)).toBe(expected);
  expect(uniform("añb", 8)).not.toBe(expected);
});

test("the fast exponential is exp within 1e-15, and 0 far out", () => {
  for (let distance = 0; distance < 43.9; distance += 0.00137) {
    const exact = Math.exp(-distance);
    expect(Math.abs(exponential(distance) - exact)).toBeLessThan(1e-15 * exact);
  }
  for (const far of [44, 45, 1e9, 1e300, Infinity]) expect(exponential(far)).toBe(0);
});
