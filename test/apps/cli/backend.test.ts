/** Rows of any length for the verbs that need no platform. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { feed, openBackend } from "#apps/cli/backend.ts";
import type { Backend } from "#kernels/backends/contract.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";

const directory = mkdtempSync(join(tmpdir(), "eyrie-feed-"));
afterAll(() => rmSync(directory, { recursive: true }));

test.each([1, 256, 257, 1000])("%i tokens are read in pieces, and to the end", async (length) => {
  const shape = { layers: 1, heads: 1, headSize: 8, ffnWidth: 8, vocabSize: 16 };
  writeRandomModel(directory, shape, { seed: 1 });
  const tokens = Array.from({ length }, (_, index) => 1 + (index % 9));
  const whole = await openBackend("reference", directory);
  const [expected] = await whole.step({ rows: [{ slot: 0, tokens, want: "last" }] });

  const pieces: number[] = [];
  const backend = await openBackend("reference", directory);
  const watched: Pick<Backend, "step"> = {
    step: (plan) => {
      pieces.push(...plan.rows.map((row) => row.tokens.length));
      return backend.step(plan);
    },
  };
  const fed = await feed(watched, { slot: 0, tokens, want: "last" });
  whole.close();
  backend.close();
  expect(Math.max(...pieces)).toBeLessThanOrEqual(256);
  expect(pieces.reduce((sum, piece) => sum + piece)).toBe(length);
  expect(fed?.logits).toEqual(expected?.logits);
});
