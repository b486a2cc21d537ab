/** `convertModel` with variants: whole or not at all, equal bytes, and what it costs in quality. */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { openReference } from "#kernels/backends/reference/reference.ts";
import { klDivergence, measureQuality } from "#kernels/backends/quality.ts";
import { canonicalTensors } from "#kernels/model/config.ts";
import { convertModel, type ConvertOptions } from "#kernels/model/convert.ts";
import { openModel } from "#kernels/model/model.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";

const eaglet = resolve(import.meta.dirname, "../../../kernels/models/eaglet");
const shape = { layers: 2, heads: 3, headSize: 8, ffnWidth: 40, vocabSize: 53 };
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "eyrie-quantise-"));
  writeRandomModel(join(root, "plain"), shape, { seed: 3, dtype: "BF16" });
});
afterAll(() => rmSync(root, { recursive: true }));

let made = 0;
async function converted(input: string, options: ConvertOptions): Promise<string> {
  const out = join(root, `out-${made++}`);
  await convertModel(input, out, options);
  return out;
}

async function tensors(directory: string, quantise: Quantise): Promise<Map<string, Float32Array>> {
  const model = await openModel(directory, { quantise });
  const names = [...canonicalTensors(model.config).keys()];
  const numbers = new Map(names.map((name) => [name, model.tensor(name)] as const));
  model.close();
  return numbers;
}

describe("what is written", () => {
  test("the variants that were asked for, and the plain weights only if they were", async () => {
    const both = await converted(join(root, "plain"), { quantise: ["none", "q8", "q4"] });
    expect(readdirSync(both).sort()).toEqual([
      "model.json",
      "weights.q4.safetensors",
      "weights.q8.safetensors",
      "weights.safetensors",
    ]);
    const small = await converted(join(root, "plain"), { quantise: ["q4"], block: 128 });
    expect(readdirSync(small).sort()).toEqual(["model.json", "weights.q4.safetensors"]);
    const model = await openModel(small);
    expect(model.variant).toEqual({ quantise: "q4", block: 128 });
    model.close();
  });

  test("equal weights give equal bytes and one fingerprint, plain or not", async () => {
    const first = await converted(join(root, "plain"), { quantise: ["none", "q4"] });
    const again = await converted(first, { quantise: ["q4"] });
    const name = "weights.q4.safetensors";
    expect(readFileSync(join(again, name)).equals(readFileSync(join(first, name)))).toBe(true);
    const prints = new Set<string>();
    for (const [directory, quantise] of [
      [first, "none"],
      [first, "q4"],
      [again, "q4"],
    ] as const) {
      const model = await openModel(directory, { quantise });
      prints.add(await model.fingerprint());
      model.close();
    }
    expect(prints.size).toBe(1);
  });

  test("matrices are near, the embedding and vectors equal", async () => {
    const directory = await converted(join(root, "plain"), { quantise: ["none", "q8", "q4"] });
    const plain = await tensors(directory, "none");
    for (const [kind, errorMax] of [
      ["q8", 0.005],
      ["q4", 0.1],
    ] as const) {
      const variant = await tensors(directory, kind);
      for (const [name, numbers] of plain) {
        const other = variant.get(name)!;
        const isMatrix = /(?:receptance|key|value|gate|output|head)\.weight$/.test(name);
        let [difference, magnitude] = [0, 0];
        numbers.forEach((number, index) => {
          difference += (number - other[index]!) ** 2;
          magnitude += number ** 2;
        });
        const error = Math.sqrt(difference / magnitude);
        const bound = isMatrix ? (name === "head.weight" ? 0.005 : errorMax) : 0;
        expect([name, error <= bound]).toEqual([name, true]);
        expect(isMatrix).toBe(error > 0);
      }
    }
  });

  test("the bytes that were announced", async () => {
    let announced = 0;
    let last = 0;
    const out = await converted(join(root, "plain"), {
      quantise: ["none", "q8", "q4"],
      onPlan: (plan) => (announced = plan.bytes),
      onProgress: (bytes) => {
        expect(bytes).toBeGreaterThan(last);
        last = bytes;
      },
    });
    const files = readdirSync(out).filter((name) => name.endsWith(".safetensors"));
    const sizes = files.map((name) => statSync(join(out, name)).size);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(announced);
    expect(last).toBe(announced);
  });
});

describe("what goes wrong leaves nothing behind", () => {
  test("a number that is not finite is refused by its tensor", async () => {
    writeRandomModel(join(root, "poisoned"), shape, { seed: 3, dtype: "F32" });
    const model = await openModel(join(root, "poisoned"));
    const { offset } = model.location("blocks.1.ffn.key.weight");
    model.close();
    const bytes = readFileSync(model.weightsPath);
    bytes.writeFloatLE(NaN, offset + 4 * 100);
    writeFileSync(model.weightsPath, bytes);
    const out = join(root, "refused");
    await expect(
      convertModel(join(root, "poisoned"), out, { quantise: ["q8"] }),
    ).rejects.toMatchObject({
      code: "MODEL_BROKEN",
      values: { reason: "not-finite: a number of blocks.1.ffn.key.weight" },
    });
    expect(existsSync(out)).toBe(false);
  });

  test("a stop in the middle, while variants are made or measured", async () => {
    for (const moment of ["written", "measured"]) {
      const asked = new AbortController();
      const out = join(root, "stopped");
      const run = convertModel(join(root, "plain"), out, {
        quantise: ["none", "q4"],
        signal: asked.signal,
        onProgress: (bytes) => {
          if (moment === "written" && bytes > 40_000) asked.abort();
        },
        measure: () => {
          asked.abort();
          asked.signal.throwIfAborted();
          return Promise.resolve(new Map());
        },
      });
      await expect(run).rejects.toMatchObject({ code: "CONVERT_STOPPED" });
      expect(readdirSync(root).filter((name) => name.includes("stopped"))).toEqual([]);
    }
  });

  test("a model of variants alone has no weights to quantise again", async () => {
    const small = await converted(join(root, "plain"), { quantise: ["q8"] });
    await expect(converted(small, { quantise: ["q4"] })).rejects.toMatchObject({
      code: "MODEL_VARIANT_MISSING",
    });
  });
});

const measure: ConvertOptions["measure"] = async (directory, kinds) => {
  const report = await measureQuality(directory, kinds, { open: openOnnx, threads: 1 });
  if (!("measured" in report)) throw new Error(report.skipped);
  return report.measured;
};

describe("quality", () => {
  test.each([
    [32, { q8: 0.002, q4: 0.05 }],
    [128, { q8: 0.002, q4: 0.06 }],
  ] as const)("Eaglet's, with blocks of %i", async (block, klMax) => {
    const out = await converted(eaglet, { quantise: ["q8", "q4"], block, measure });
    const model = await openModel(out);
    model.close();
    for (const kind of ["q8", "q4"] as const) {
      const quality = model.description.quantised?.[kind]?.quality;
      expect(quality?.tokens).toBeGreaterThan(300);
      expect(quality?.meanKl).toBeGreaterThan(0);
      expect(quality?.meanKl).toBeLessThan(klMax[kind]);
      expect(quality?.top1Agreement).toBeGreaterThan(kind === "q8" ? 0.96 : 0.8);
    }
  });

  test("KL divergence is that of the two distributions, in nats", () => {
    const p = Float32Array.from([0.5, 0.25, 0.25], Math.log);
    const q = Float32Array.from([0.25, 0.5, 0.25], (share) => Math.log(share) + 3);
    expect(klDivergence(p, q)).toBeCloseTo(0.25 * Math.log(2), 6);
    expect(klDivergence(p, p)).toBeCloseTo(0, 7);
  });

  test("is not measured without a vocabulary, nor where the memory is missing", async () => {
    const options = { open: openReference, threads: 1 };
    const directory = await converted(join(root, "plain"), { quantise: ["none", "q4"] });
    expect(await measureQuality(directory, ["q4"], options)).toMatchObject({
      skipped: "no-vocabulary",
    });
    const variant = await converted(eaglet, { quantise: ["none", "q4"] });
    const memoryBytes = 20e6;
    expect(await measureQuality(variant, ["q4"], { ...options, memoryBytes })).toMatchObject({
      skipped: "memory",
      neededBytes: expect.closeTo(4 * 1.3 * 9_328_640, -6),
    });
  });
});
