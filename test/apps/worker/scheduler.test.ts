import fc from "fast-check";
import { expect, test } from "vitest";
import { learnCosts, type StepCosts } from "#apps/worker/scheduler/costs.ts";
import {
  allot,
  type Demand,
  prefillBudget,
  prefillTokensFast,
  prefillTokensMax,
  prefillTokensMin,
} from "#apps/worker/scheduler/scheduler.ts";

const demands = fc.array(
  fc.record({
    row: fc.nat(),
    kind: fc.constantFrom("decode" as const, "prefill" as const),
    tokens: fc.integer({ min: 1, max: 3000 }),
  }),
  { maxLength: 20 },
);

test("every decoding row gets all it wants, prompts share exactly the budget or less", () => {
  fc.assert(
    fc.property(demands, fc.integer({ min: 1, max: 512 }), (rows, budget) => {
      const tokens = allot(rows, budget);
      let prompts = 0;
      for (const [index, { kind, tokens: wanted }] of rows.entries()) {
        const given = tokens[index] ?? -1;
        if (kind === "decode") expect(given).toBe(wanted);
        else prompts += given;
        expect(given).toBeLessThanOrEqual(wanted);
      }
      const wanted = rows.filter(({ kind }) => kind === "prefill").map((row) => row.tokens);
      const all = wanted.reduce((sum, count) => sum + count, 0);
      expect(prompts).toBe(Math.min(budget, all));
    }),
  );
});

test("no prompt starves: each gets its fair share, short ones leave theirs to long ones", () => {
  const rows: Demand[] = [
    { row: 0, kind: "prefill", tokens: 2000 },
    { row: 1, kind: "prefill", tokens: 10 },
    { row: 2, kind: "prefill", tokens: 2000 },
  ];
  expect(allot(rows, 100)).toEqual([45, 10, 45]);
});

/** As they are known after many steps. */
function known(costs: Partial<StepCosts>): StepCosts {
  const sums = { xx: [], xMs: [] };
  return { stepMs: 0, decodeTokenMs: 0, prefillTokenMs: 0, prefillTokens: 256, sums, ...costs };
}

test("prompts take at most half of a step while anybody decodes", () => {
  const costs = known({ stepMs: 8, decodeTokenMs: 2, prefillTokenMs: 0.5 });
  expect(prefillBudget(1, costs)).toBe(20);
  expect(prefillBudget(11, costs)).toBe(60);
  expect(prefillBudget(0, costs)).toBe(prefillTokensMax);
  expect(prefillBudget(0, known({ prefillTokenMs: 10 }))).toBe(100);
  expect(prefillBudget(0, known({ prefillTokenMs: 50 }))).toBe(prefillTokensFast);
  expect(prefillBudget(0, null)).toBe(prefillTokensFast);
  expect(prefillBudget(1, null)).toBe(prefillTokensMin);
  expect(prefillBudget(1, known({ stepMs: 1, prefillTokenMs: 100 }))).toBe(prefillTokensMin);
});

test("they get as many tokens as rows decode, whatever is known of costs", () => {
  expect(prefillBudget(50, null)).toBe(50);
  expect(prefillBudget(50, known({ stepMs: 1, prefillTokenMs: 100 }))).toBe(50);
  expect(prefillBudget(5_000, null)).toBe(prefillTokensMax);
});

test("a budget grows to twice the last one at most", () => {
  expect(prefillBudget(1, known({ stepMs: 1_000, prefillTokens: 20 }))).toBe(40);
  expect(prefillBudget(30, known({ stepMs: 1_000, prefillTokens: 10 }))).toBe(30);
});

const truth = { stepMs: 3, decodeTokenMs: 0.7, prefillTokenMs: 0.1 };

function msOf(step: { readonly decodeTokens: number; readonly prefillTokens: number }): number {
  const { decodeTokenMs, prefillTokenMs, stepMs } = truth;
  return stepMs + decodeTokenMs * step.decodeTokens + prefillTokenMs * step.prefillTokens;
}

test("costs are learnt from steps of all kinds", () => {
  let costs: StepCosts | null = null;
  for (let step = 0; step < 2_000; step++) {
    const what = { decodeTokens: step % 7, prefillTokens: step % 2 === 0 ? 0 : 40 };
    costs = learnCosts(costs, { ...what, ms: msOf(what) });
  }
  expect(costs?.stepMs).toBeCloseTo(truth.stepMs, 1);
  expect(costs?.decodeTokenMs).toBeCloseTo(truth.decodeTokenMs, 1);
  expect(costs?.prefillTokenMs).toBeCloseTo(truth.prefillTokenMs, 2);
});

test("who takes over fifty replies reads them in few steps, though none is without a prompt", () => {
  let costs: StepCosts | null = null;
  let rows: Demand[] = Array.from({ length: 50 }, (_, row) => ({
    row,
    kind: "prefill",
    tokens: 20 + 5 * row,
  }));
  let steps = 0;
  for (; rows.some(({ kind }) => kind === "prefill"); steps++) {
    const decodeTokens = rows.filter(({ kind }) => kind === "decode").length;
    const tokens = allot(rows, prefillBudget(decodeTokens, costs));
    const fed = tokens.reduce((sum, count) => sum + count, 0);
    const what = { decodeTokens, prefillTokens: fed - decodeTokens };
    costs = learnCosts(costs, { ...what, ms: msOf(what) });
    rows = rows.map((demand, index) => {
      if (demand.kind === "decode") return demand;
      const left = demand.tokens - tokens[index]!;
      return left > 0 ? { ...demand, tokens: left } : { ...demand, kind: "decode", tokens: 1 };
    });
  }
  // 7,125 tokens; 28 steps of 256.
  expect(steps).toBeLessThan(65);
});

test("a 2,000-token message never stalls streams: they get a token in every step", () => {
  const costs = known({ stepMs: 10, prefillTokenMs: 0.5 });
  let prompt = 2000;
  let steps = 0;
  while (prompt > 0) {
    const rows: Demand[] = [
      { row: 0, kind: "decode", tokens: 1 },
      { row: 1, kind: "prefill", tokens: prompt },
    ];
    const [stream, fed = 0] = allot(rows, prefillBudget(1, costs));
    expect(stream).toBe(1);
    expect(fed * costs.prefillTokenMs).toBeLessThanOrEqual(costs.stepMs);
    prompt -= fed;
    steps++;
  }
  expect(steps).toBe(100);
});
