import fc from "fast-check";
import { expect, test } from "vitest";
import {
  packResults,
  StepPacker,
  StepUnpacker,
  unpackResults,
} from "#apps/worker/engine/packed-step.ts";
import type { Plan, PlanRow } from "#kernels/backends/contract.ts";
import { greedy } from "../../infra/turns.ts";

const aRow = fc.record(
  {
    slot: fc.nat(7),
    tokens: fc.array(fc.nat(65_535), { minLength: 1, maxLength: 5 }),
    sample: fc.record(
      {
        seed: fc.constantFrom("1/0", "1/1", "2/0"),
        draw: fc.nat(9_999),
        temperature: fc.constantFrom(0, 0.7),
        earlier: fc.array(fc.nat(65_535), { maxLength: 3 }),
      },
      { requiredKeys: ["seed", "draw", "temperature"] },
    ),
  },
  { requiredKeys: ["slot", "tokens"] },
);

test("whatever is asked for arrives, step after step", () => {
  fc.assert(
    fc.property(fc.array(fc.uniqueArray(aRow, { selector: ({ slot }) => slot })), (steps) => {
      const [packer, unpacker] = [new StepPacker(), new StepUnpacker()];
      for (const step of steps) {
        const rows = step.map(({ slot, tokens, sample }): PlanRow => {
          const row = { slot, tokens, want: "none" } as const;
          return sample === undefined ? row : { ...row, sample: { ...greedy, ...sample } };
        });
        expect(unpacker.unpack(structuredClone(packer.pack({ rows })))).toEqual({ rows });
      }
    }),
  );
});

function plan(seed: string, draw: number): Plan {
  return { rows: [{ slot: 3, tokens: [1], want: "none", sample: { ...greedy, seed, draw } }] };
}

test("how draws are made is told once for each reply", () => {
  const packer = new StepPacker();
  const told = [plan("1/0", 0), plan("1/0", 1), plan("1/0", 2), plan("2/0", 0)].map(
    (one) => packer.pack(one).samplings.length,
  );
  expect(told).toEqual([1, 0, 0, 1]);
});

test("a drawn token, none, and a row that is not finite", () => {
  const results = [
    { slot: 0, logits: null, token: 0, finite: true },
    { slot: 1, logits: null, token: null, finite: true },
    { slot: 2, logits: null, token: null, finite: false },
  ];
  const rows = results.map(({ slot }) => ({ slot, tokens: [1], want: "none" as const }));
  expect(unpackResults(packResults(results), { rows })).toEqual(results);
});

test("logits never cross the border", () => {
  const rows = [{ slot: 0, tokens: [1], want: "last" as const }];
  expect(() => new StepPacker().pack({ rows })).toThrow("logits");
});
