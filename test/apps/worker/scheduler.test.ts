import fc from "fast-check";
import { expect, test } from "vitest";
import {
  allot,
  type Demand,
  learnCosts,
  prefillBudget,
  prefillTokensFast,
  prefillTokensMax,
  prefillTokensMin,
  type StepCosts,
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

test("prompts take at most half of a step while anybody decodes", () => {
  const costs: StepCosts = { decodeStepMs: 10, prefillTokenMs: 0.5 };
  expect(prefillBudget(true, costs) * costs.prefillTokenMs).toBeLessThanOrEqual(10);
  expect(prefillBudget(true, costs)).toBe(20);
  expect(prefillBudget(false, costs)).toBe(prefillTokensMax);
  expect(prefillBudget(false, { decodeStepMs: 50, prefillTokenMs: 10 })).toBe(100);
  expect(prefillBudget(false, { decodeStepMs: 200, prefillTokenMs: 50 })).toBe(prefillTokensFast);
  expect(prefillBudget(false, null)).toBe(prefillTokensFast);
  expect(prefillBudget(true, null)).toBe(prefillTokensMin);
  expect(prefillBudget(true, { decodeStepMs: 1, prefillTokenMs: 100 })).toBe(prefillTokensMin);
});

test("costs are learnt from steps of both kinds", () => {
  let costs: StepCosts | null = null;
  for (let step = 0; step < 200; step++) {
    const prefillTokens = step % 2 === 0 ? 0 : 40;
    costs = learnCosts(costs, { prefillTokens, ms: 2 + 0.1 * prefillTokens });
  }
  expect(costs?.decodeStepMs).toBeCloseTo(2, 3);
  expect(costs?.prefillTokenMs).toBeCloseTo(0.1, 3);
});

test("a 2,000-token message never stalls streams: they get a token in every step", () => {
  const costs: StepCosts = { decodeStepMs: 10, prefillTokenMs: 0.5 };
  let prompt = 2000;
  let steps = 0;
  while (prompt > 0) {
    const rows: Demand[] = [
      { row: 0, kind: "decode", tokens: 1 },
      { row: 1, kind: "prefill", tokens: prompt },
    ];
    const [stream, fed = 0] = allot(rows, prefillBudget(true, costs));
    expect(stream).toBe(1);
    expect(fed * costs.prefillTokenMs).toBeLessThanOrEqual(costs.decodeStepMs);
    prompt -= fed;
    steps++;
  }
  expect(steps).toBe(100);
});
