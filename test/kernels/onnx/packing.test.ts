/** How rows are grouped into runs and laid out for the graph. */
import { expect, test } from "vitest";
import { groupRows, packRows } from "#kernels/backends/onnx/packing.ts";
import type { ModelConfig } from "#kernels/model/config.ts";

const config: ModelConfig = {
  version: "5.2",
  layers: 6,
  width: 256,
  heads: 4,
  headSize: 64,
  ffnWidth: 896,
  vocabSize: 4096,
  groupNormEps: 64e-5,
  layerNormEps: 1e-5,
};
const rowOf = (length: number) => ({
  tokens: Array<number>(length).fill(0),
  want: "last" as const,
});
const lengthsOf = (groups: readonly { tokens: readonly number[] }[][]): number[][] =>
  groups.map((group) => group.map((row) => row.tokens.length)).sort((a, b) => a[0]! - b[0]!);

test("equal rows share a run, and so do rows that differ little", () => {
  expect(lengthsOf(groupRows([1, 1, 1, 1].map(rowOf), config))).toEqual([[1, 1, 1, 1]]);
  expect(lengthsOf(groupRows([3, 1, 2].map(rowOf), config))).toEqual([[1, 2, 3]]);
});

test("a long prompt does not stretch the timelines of many decoding rows", () => {
  const lengths = [1, 1, 64, 1, 1, 1, 60, 1];
  expect(lengthsOf(groupRows(lengths.map(rowOf), config))).toEqual([
    [1, 1, 1, 1, 1, 1],
    [60, 64],
  ]);
});

test("the timelines of two rows of different length", () => {
  const packing = packRows([
    { tokens: [7], want: "none" },
    { tokens: [8, 9], want: "all" },
  ]);
  expect(packing).toMatchObject({ rows: 2, tokens: 3, positions: 4, wantedTokens: 2 });
  // Places 0 and 1 are the rows' shift states, 2, 3 and 4 the tokens.
  expect([...packing.previous]).toEqual([0n, 1n, 3n]);
  expect([...packing.last]).toEqual([0n, 2n]);
  expect([...packing.timeline]).toEqual([0n, 0n, 0n, 0n, 1n, 1n, 2n, 2n]);
  expect([...packing.writes]).toEqual([0, 1, 0, 0, 0, 1, 0, 1]);
  expect([...packing.reads]).toEqual([0n, 4n, 6n]);
  expect([...packing.wanted]).toEqual([1n, 2n]);
});
