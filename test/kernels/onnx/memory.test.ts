/** Memory of the onnx backend: what a step leaves behind is given back, and the embedding stays on disk. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, expect, test } from "vitest";
import type { Backend, PlanRow } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { openModel } from "#kernels/model/model.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";

const shape = { layers: 2, heads: 2, headSize: 64, ffnWidth: 128, vocabSize: 256 };
const slots = 8;
const directory = mkdtempSync(join(tmpdir(), "eyrie-memory-"));
afterAll(() => rmSync(directory, { recursive: true }));

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Memory that JavaScript holds, garbage included. */
function heldBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Rows of decoding, prefill and mixtures, with company that changes in most steps. */
function rowsOf(step: number): PlanRow[] {
  const count = 1 + ((step * 5) % slots);
  return Array.from({ length: count }, (_, index) => {
    const slot = (step * 3 + index) % slots;
    const length = (step + index) % 7 === 0 ? 9 : 1;
    const tokens = Array.from({ length }, (__, t) => (step * 31 + index * 7 + t) % shape.vocabSize);
    return { slot, tokens, want: index % 2 === 0 ? "last" : "none" };
  });
}

async function run(backend: Backend, from: number, to: number): Promise<number> {
  let most = 0;
  for (let step = from; step < to; step++) {
    await backend.step({ rows: rowsOf(step) });
    if (step % 16 === 0) most = Math.max(most, heldBytes());
  }
  return most;
}

const smaps = "/proc/self/smaps";

test.skipIf(!existsSync(smaps))("of the embedding only what was looked up is read", async () => {
  const wide = join(directory, "wide");
  writeRandomModel(wide, { ...shape, vocabSize: 65_536 }, { seed: 1, quantise: "q8" });
  const model = await openModel(wide);
  const { offset, bytes } = model.location("emb.weight");
  model.close();
  const backend = await openOnnx(wide, { slots: 1, threads: 1 });
  await backend.step({ rows: [{ slot: 0, tokens: [5, 40_000], want: "last" }] });
  const mappings = readFileSync(smaps, "utf8").split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  const residentKib = mappings.flatMap((mapping) => {
    const [range, , from, , , path] = mapping.split("\n")[0]!.split(/\s+/);
    const [first, end] = range!.split("-").map((address) => Number.parseInt(address, 16));
    const start = Number.parseInt(from!, 16);
    const holdsIt = start <= offset && start + end! - first! >= offset + bytes;
    const kib = Number(/^Rss:\s+(\d+)/m.exec(mapping)![1]);
    return path === model.weightsPath && holdsIt ? [kib] : [];
  });
  backend.close();
  // Two rows of 256 bytes, and what the system maps around them: a megabyte of 16 was seen.
  expect(residentKib).toHaveLength(1);
  expect(residentKib[0]).toBeLessThan(bytes / 1024 / 4);
});

test("heap and external memory stay where they are over 10,000 steps", async () => {
  writeRandomModel(directory, shape, { seed: 1, quantise: "q4" });
  const backend = await openOnnx(directory, { slots, threads: 1 });
  await run(backend, 0, 500);
  collect();
  const settled = heldBytes();

  const most = await run(backend, 500, 10_000);
  collect();
  // After a collection nothing is left but the states themselves, which were there before; what code and
  // the test runner hold changes by a megabyte or two.
  expect(heldBytes() - settled).toBeLessThan(4 << 20);
  // Between collections there is garbage of small objects and of logits. Had each step left its states
  // behind, they would be 6 GB by now.
  expect(most - settled).toBeLessThan(64 << 20);
  backend.close();
}, 300_000);
