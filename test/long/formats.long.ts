/** 100,000 mutants per reader of weights: no crash, no hang, no wrong acceptance. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Counts,
  tryFileMutants,
  tryPickleMutants,
  tryPthMutants,
} from "#test/kernels/formats/mutants.ts";

const numRuns = 100_000;
const patienceMs = 3_600_000;
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-mutants-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function total({ accepted, refused }: Counts): number {
  return [...refused.values()].reduce((sum, count) => sum + count, accepted);
}

const seed = Number(process.env["EYRIE_TEST_SEED"] ?? 20261123);

test(
  "whole .pth files",
  () => expect(total(tryPthMutants(numRuns, seed))).toBe(numRuns),
  patienceMs,
);
test("pickles", () => expect(total(tryPickleMutants(numRuns, seed))).toBe(numRuns), patienceMs);
test.each(["safetensors", "index"] as const)(
  "%s",
  async (reader) => {
    expect(total(await tryFileMutants(directory, reader, { numRuns, seed }))).toBe(numRuns);
  },
  patienceMs,
);
