/**
 * What every backend promises (`kernels/backends/contract.ts`), as one suite. A backend's own test
 * calls `backendSuite(name, open, options)`; an unavailable backend is skipped there, visibly.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type {
  Backend,
  OpenBackend,
  Plan,
  RowResult,
  SlotIndex,
} from "#kernels/backends/contract.ts";
import { stateLength } from "#kernels/model/config.ts";
import { type RandomModelShape, writeRandomModel } from "#kernels/model/random-model.ts";
import { convertModel } from "#kernels/model/convert.ts";
import { blockDefault, type QuantisedKind } from "#kernels/model/quantise/layout.ts";
import type { FloatDtype } from "#kernels/model/safetensors.ts";
import { Sampler } from "#kernels/sampler/sampler.ts";
import {
  bitEqual,
  ErrorSum,
  plainSample,
  relativeError,
  type RowRequest,
  rowRequest,
  stateError,
  stateFrom,
  tokensOf,
} from "./backend.rows.ts";
import { Oracle } from "./oracle.ts";

export interface BackendSuiteOptions {
  /** Bound of `relativeError` against fp64, for logits and for each part of a state. */
  readonly errorMax: number;
  /**
   * The variant of each model to run. Its errors are then bounded by those of a naive run of the same
   * precision as well: twice their root mean square.
   */
  readonly quantise?: QuantisedKind;
  /** Bound between two splits or companies of the same tokens, where `chunkExact` is not true. */
  readonly chunkErrorMax?: number;
  /** Random cases per property. */
  readonly runs?: number;
}

/** Head sizes 8 to 128, one head and several, F other than 3.5 D, each weight type. */
const shapes: readonly { shape: RandomModelShape; dtype: FloatDtype }[] = [
  { shape: { layers: 2, heads: 3, headSize: 8, ffnWidth: 40, vocabSize: 53 }, dtype: "F32" },
  { shape: { layers: 2, heads: 2, headSize: 32, ffnWidth: 224, vocabSize: 97 }, dtype: "BF16" },
  { shape: { layers: 3, heads: 1, headSize: 64, ffnWidth: 160, vocabSize: 130 }, dtype: "F16" },
  { shape: { layers: 1, heads: 1, headSize: 128, ffnWidth: 96, vocabSize: 64 }, dtype: "F32" },
];
const slots = 6;

export function backendSuite(name: string, open: OpenBackend, options: BackendSuiteOptions): void {
  const { errorMax, quantise, chunkErrorMax = 0, runs = 12 } = options;

  describe.each(shapes)(`${name}, $dtype, heads of $shape.headSize`, ({ shape, dtype }) => {
    let directory: string;
    let backend: Backend;
    let oracle: Oracle;
    let naive: Oracle;

    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), "eyrie-backend-"));
      const plain = join(directory, "plain");
      writeRandomModel(plain, shape, { seed: 7, dtype });
      const model = join(directory, "model");
      await convertModel(plain, model, { quantise: [quantise ?? "none"] });
      backend = await open(model, { slots, threads: 1 });
      oracle = await Oracle.open(model);
      naive = await Oracle.open(model, { activationBlock: blockDefault });
    });

    afterAll(() => {
      backend.close();
      rmSync(directory, { recursive: true });
    });

    /** Runs each request in the slot of the same index of `placement`, from its own state. */
    async function runRows(
      requests: readonly RowRequest[],
      placement: readonly SlotIndex[],
    ): Promise<(RowResult & { state: Float32Array })[]> {
      const rows = requests.map(({ stateSeed, ...row }, index) => {
        const slot = placement[index]!;
        backend.writeState(slot, stateFrom(backend.config, stateSeed));
        return { ...row, slot };
      });
      const results = await backend.step({ rows });
      return results.map((result) => ({ ...result, state: backend.readState(result.slot) }));
    }

    type Outcome = Pick<RowResult, "logits"> & { readonly state: Float32Array };

    /** To the bit, where the backend promises it. */
    function expectAlike(one: Outcome, other: Outcome): void {
      if (backend.chunkExact) {
        expect(bitEqual(one.logits, other.logits)).toBe(true);
        expect(bitEqual(one.state, other.state)).toBe(true);
        return;
      }
      expect(one.logits?.length).toBe(other.logits?.length);
      if (one.logits !== null && other.logits !== null) {
        expect(relativeError(one.logits, other.logits)).toBeLessThan(chunkErrorMax);
      }
      expect(stateError(backend.config, one.state, other.state)).toBeLessThan(chunkErrorMax);
    }

    test("agrees with the fp64 oracle", async () => {
      const { config } = backend;
      const { vocabSize } = config;
      const cases = fc.record({
        tokens: tokensOf(config, 16),
        seed: fc.option(fc.integer({ min: 1, max: 2 ** 30 })),
      });
      const errors = { own: new ErrorSum(), naive: new ErrorSum() };
      const property = fc.asyncProperty(cases, async ({ tokens, seed }) => {
        const state = stateFrom(config, seed);
        backend.writeState(0, state);
        const [result] = await backend.step({ rows: [{ slot: 0, tokens, want: "all" }] });
        const expected = oracle.run(tokens, state);
        const rounded = quantise === undefined ? null : naive.run(tokens, state);
        expected.logits.forEach((row, t) => {
          const actual = result!.logits!.subarray(t * vocabSize, (t + 1) * vocabSize);
          expect(relativeError(actual, row)).toBeLessThan(errorMax);
          errors.own.add(actual, row);
          if (rounded !== null) errors.naive.add(rounded.logits[t]!, row);
        });
        const after = backend.readState(0);
        expect(stateError(config, after, expected.state)).toBeLessThan(errorMax);
        errors.own.add(after, expected.state);
        if (rounded !== null) errors.naive.add(rounded.state, expected.state);
      });
      await fc.assert(property, { numRuns: runs });
      if (quantise !== undefined) expect(errors.own.rms).toBeLessThan(2 * errors.naive.rms);
    });

    test("a row gives the same bits alone and in any batch and slot", async () => {
      const batches = fc.array(rowRequest(backend.config), { minLength: 2, maxLength: slots });
      const placements = fc.shuffledSubarray([...Array(slots).keys()], { minLength: slots });
      const property = fc.asyncProperty(batches, placements, async (requests, placement) => {
        const alone: Awaited<ReturnType<typeof runRows>> = [];
        for (const request of requests) alone.push(...(await runRows([request], [0])));
        const together = await runRows(requests, placement);
        together.forEach((row, index) => {
          const expected = alone[index]!;
          expect(row.slot).toBe(placement[index]);
          if (backend.chunkExact) expect(row.token).toBe(expected.token);
          expect(row.finite).toBe(true);
          expectAlike(row, expected);
        });
      });
      await fc.assert(property, { numRuns: runs });
    });

    test("any split of the tokens leads to the same state and logits", async () => {
      const { config } = backend;
      const cases = fc.record({
        tokens: tokensOf(config, 14),
        cuts: fc.array(fc.integer({ min: 1, max: 13 }), { minLength: 1, maxLength: 4 }),
      });
      const property = fc.asyncProperty(cases, async ({ tokens, cuts }) => {
        const [whole] = await runRows([{ tokens, want: "last", stateSeed: 3 }], [0]);
        backend.writeState(1, stateFrom(config, 3));
        const ends = [...new Set(cuts)].filter((cut) => cut < tokens.length).sort((a, b) => a - b);
        let start = 0;
        for (const end of ends) {
          await backend.step({
            rows: [{ slot: 1, tokens: tokens.slice(start, end), want: "none" }],
          });
          start = end;
        }
        const rows: Plan["rows"] = [{ slot: 1, tokens: tokens.slice(start), want: "last" }];
        const [last] = await backend.step({ rows });
        const state = backend.readState(1);
        expectAlike({ logits: last!.logits, state }, whole!);
      });
      await fc.assert(property, { numRuns: runs });
    });

    test("gives the logits that were wanted and no others", async () => {
      const { vocabSize } = backend.config;
      const tokens = [5, 6, 7];
      const wants = ["none", "last", "all"] as const;
      const requests = wants.map((want) => ({ tokens, want, stateSeed: 9 }));
      const [none, last, all] = await runRows(requests, [2, 4, 0]);
      expect(none).toMatchObject({ logits: null, token: null, finite: true });
      expect(last!.logits).toHaveLength(vocabSize);
      expect(all!.logits).toHaveLength(3 * vocabSize);
      const error = relativeError(all!.logits!.subarray(2 * vocabSize), last!.logits!);
      expect(error).toBeLessThan(errorMax);
    });

    test("a written state is read back to the bit, as a copy", () => {
      const state = stateFrom(backend.config, 11);
      backend.writeState(3, state);
      const copy = backend.readState(3);
      expect(bitEqual(copy, state)).toBe(true);
      copy.fill(1);
      state.fill(2);
      expect(bitEqual(backend.readState(3), stateFrom(backend.config, 11))).toBe(true);
    });

    test("a state is read into what the caller has for it, all of it", () => {
      const into = new Float32Array(stateLength(backend.config)).fill(7);
      backend.writeState(3, stateFrom(backend.config, 12));
      expect(backend.readState(3, into)).toBe(into);
      expect(bitEqual(into, stateFrom(backend.config, 12))).toBe(true);
      backend.writeState(3, null);
      expect(backend.readState(3, into).every((value) => value === 0)).toBe(true);
    });

    test("nothing of the former owner remains after writeState(slot, null)", async () => {
      const fresh: RowRequest = { tokens: [1, 2, 3], want: "last", stateSeed: null };
      const [expected] = await runRows([fresh], [5]);
      backend.writeState(1, stateFrom(backend.config, 5).fill(NaN));
      backend.writeState(1, null);
      expect(backend.readState(1).every((value) => value === 0)).toBe(true);
      const [after] = await backend.step({ rows: [{ slot: 1, tokens: [1, 2, 3], want: "last" }] });
      expect(bitEqual(after!.logits, expected!.logits)).toBe(true);
    });

    const parts = ["first shift", "memory", "last shift"] as const;
    const poisons = parts.flatMap((part) =>
      [NaN, Infinity].map((poison) => [poison, part] as const),
    );
    test.each(poisons)(
      "a state with %s in its %s poisons its own row alone",
      async (poison, part) => {
        const { config } = backend;
        // One token: the last shift reaches no later one.
        const tokens = [4];
        const mate = (seed: number): RowRequest => {
          return { tokens, want: "last", stateSeed: seed, sample: plainSample };
        };
        const clean = await runRows([mate(1), mate(2)], [0, 2]);

        backend.writeState(0, stateFrom(config, 1));
        backend.writeState(2, stateFrom(config, 2));
        const poisoned = stateFrom(config, 3);
        const places = {
          "first shift": 0,
          memory: config.width,
          "last shift": poisoned.length - 1,
        };
        poisoned[places[part]] = poison;
        backend.writeState(1, poisoned);
        const row = { tokens, want: "last", sample: plainSample } as const;
        const results = await backend.step({ rows: [0, 1, 2].map((slot) => ({ ...row, slot })) });
        expect(results[1]).toMatchObject({ slot: 1, finite: false, token: null });
        for (const [index, slot] of [0, 2].entries()) {
          expect(results[slot]).toMatchObject({ finite: true, token: clean[index]!.token });
          expect(bitEqual(results[slot]!.logits, clean[index]!.logits)).toBe(true);
          expect(bitEqual(backend.readState(slot), clean[index]!.state)).toBe(true);
        }
      },
    );

    test("equal seeds draw equal replies, as the plain sampler does", async () => {
      const first = await drawReply(backend, 0, "one");
      expect(await drawReply(backend, 4, "one")).toEqual(first);
      expect(await drawReply(backend, 0, "one")).toEqual(first);
      expect(await drawReply(backend, 0, "two")).not.toEqual(first);
      expect(first.some((token) => token === 0 || token === 1)).toBe(false);
    });

    test("a plan with a mistake is refused whole", async () => {
      const good = { slot: 0, tokens: [1], want: "none" } as const;
      const { vocabSize } = backend.config;
      const mistakes: Plan["rows"][number][] = [
        { ...good, slot: slots },
        { ...good, slot: -1 },
        { ...good, slot: 0.5 },
        { ...good, slot: 0 },
        { ...good, slot: 1, tokens: [] },
        { ...good, slot: 1, tokens: [vocabSize] },
        { ...good, slot: 1, tokens: [-1] },
        { ...good, slot: 1, tokens: [0.5] },
        { ...good, slot: 1, sample: { ...plainSample, temperature: NaN } },
        { ...good, slot: 1, sample: { ...plainSample, banned: [vocabSize] } },
      ];
      const before = stateFrom(backend.config, 13);
      backend.writeState(0, before);
      backend.writeState(1, before);
      for (const mistake of mistakes) {
        await expect(backend.step({ rows: [good, mistake] })).rejects.toThrow();
      }
      const strange = backend.step({ rows: [{ ...good, tokens: [1, vocabSize] }] });
      await expect(strange).rejects.toMatchObject({ code: "TOKEN_OUT_OF_RANGE" });
      expect(() => backend.writeState(0, new Float32Array(3))).toThrow();
      expect(() => backend.writeState(slots, null)).toThrow();
      expect(() => backend.readState(-1)).toThrow();
      expect(bitEqual(backend.readState(0), before)).toBe(true);
      expect(bitEqual(backend.readState(1), before)).toBe(true);
    });

    test("runs one step at a time", async () => {
      const row = { tokens: [1, 2], want: "last" } as const;
      const [expected] = await runRows([{ ...row, stateSeed: 17 }], [0]);
      backend.writeState(0, stateFrom(backend.config, 17));
      const running = backend.step({ rows: [{ ...row, slot: 0 }] });
      await expect(backend.step({ rows: [{ ...row, slot: 1 }] })).rejects.toThrow();
      const [result] = await running;
      expect(bitEqual(result!.logits, expected!.logits)).toBe(true);
    });

    test("an empty plan does nothing", async () => {
      expect(await backend.step({ rows: [] })).toEqual([]);
    });
  });
}

/** Draws twelve tokens, each fed back, and compares every draw with the plain sampler's. */
async function drawReply(
  backend: Backend,
  slot: SlotIndex,
  seed: string,
): Promise<(number | null)[]> {
  const sampler = new Sampler(1, backend.config.vocabSize);
  backend.writeState(slot, null);
  const drawn: (number | null)[] = [];
  for (let draw = 0; draw < 12; draw++) {
    const sample = { ...plainSample, seed, draw, banned: [0, 1] };
    const row = { slot, tokens: [drawn.at(-1) ?? 2], want: "last", sample } as const;
    const [result] = await backend.step({ rows: [row] });
    expect(result!.token).toBe(sampler.draw(0, result!.logits!, sample));
    drawn.push(result!.token);
  }
  return drawn;
}
