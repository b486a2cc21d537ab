/** Opening a variant of a model: what is chosen, what its tensors are, and what is refused by name. */
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ModelError } from "#kernels/errors.ts";
import { canonicalTensors } from "#kernels/model/config.ts";
import { type Model, openModel } from "#kernels/model/model.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";

const shape = { layers: 2, heads: 3, headSize: 8, ffnWidth: 40, vocabSize: 53 };
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "eyrie-variant-"));
  writeRandomModel(join(root, "plain"), shape, { seed: 1 });
  for (const quantise of ["q8", "q4"] as const) {
    writeRandomModel(join(root, quantise), shape, { seed: 1, quantise });
  }
});
afterAll(() => rmSync(root, { recursive: true }));

async function opened<T>(name: string, use: (model: Model) => T, quantise?: Quantise): Promise<T> {
  const model = await openModel(join(root, name), { quantise });
  try {
    return use(model);
  } finally {
    model.close();
  }
}

async function refusal(name: string, quantise?: Quantise): Promise<string> {
  try {
    await opened(name, () => undefined, quantise);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return `${error.code} ${String(error.values["reason"] ?? error.values["found"]).split(":")[0]}`;
  }
  return "opened";
}

let copies = 0;
/** A copy of the q4 model, changed. */
function changed(change: (directory: string) => void): string {
  const name = `copy-${copies++}`;
  cpSync(join(root, "q4"), join(root, name), { recursive: true });
  change(join(root, name));
  return name;
}

/** Replaces text of equal length anywhere in the file of weights. */
function patched(from: string, to: string): string {
  return changed((directory) => {
    const path = join(directory, "weights.q4.safetensors");
    const text = readFileSync(path, "latin1");
    expect(text).toContain(from);
    expect(to).toHaveLength(from.length);
    writeFileSync(path, text.replace(from, to), "latin1");
  });
}

test("sizes are those of the plain model, though rows are padded to whole blocks", async () => {
  const config = await opened("plain", (model) => model.config);
  expect(await opened("q4", (model) => model.config)).toEqual(config);
  expect(await opened("q8", (model) => model.config)).toEqual(config);
});

test("only matrices are quantised, the head always to 8 bits", async () => {
  const bits = await opened("q4", (model) =>
    [...canonicalTensors(model.config)].map(
      ([name, { length }]) => [name, length, model.quantised(name)?.bits ?? null] as const,
    ),
  );
  for (const [name, rank, found] of bits) {
    const isMatrix = rank === 2 && !/emb|time_/.test(name);
    expect([name, found]).toEqual([name, isMatrix ? (name === "head.weight" ? 8 : 4) : null]);
  }
});

test("a tensor's numbers are the canonical ones, dequantised", async () => {
  await opened("q4", (model) => {
    for (const [name, extents] of canonicalTensors(model.config)) {
      const numbers = model.tensor(name);
      expect(numbers).toHaveLength(extents.reduce((product, extent) => product * extent, 1));
      expect(numbers.every(Number.isFinite)).toBe(true);
    }
  });
});

test("without a wish the plain weights come first, then what is there", async () => {
  expect(await opened("plain", (model) => model.variant)).toBeNull();
  expect(await opened("q8", (model) => model.variant)).toEqual({ quantise: "q8", block: 32 });
  expect(await opened("q4", (model) => model.variant)).toEqual({ quantise: "q4", block: 32 });
});

describe("refused", () => {
  test("a variant that is not there, in words that name what is", async () => {
    expect(await refusal("q4", "q8")).toBe("MODEL_VARIANT_MISSING q4");
    expect(await refusal("q4", "none")).toBe("MODEL_VARIANT_MISSING q4");
    expect(await refusal("plain", "q4")).toBe("MODEL_VARIANT_MISSING none");
    const gone = changed((at) => rmSync(join(at, "weights.q4.safetensors")));
    expect(await refusal(gone)).toMatch(/^MODEL_NOT_FOUND/);
  });

  test("a file that is cut", async () => {
    const cut = changed((at) => truncateSync(join(at, "weights.q4.safetensors"), 9000));
    expect(await refusal(cut)).toBe("MODEL_BROKEN truncated");
  });

  test.each([
    ["variant-format", '"eyrie-quantised-1"', '"eyrie-quantised-2"'],
    ["variant-kind", '"quantise":"q4"', '"quantise":"q8"'],
    ["variant-block", '"block":"32"', '"block":"33"'],
    ["variant-source", '"source":"', '"sourcf":"'],
    ["missing-tensor", "blocks.1.ffn.value.weight.scales", "blocks.1.ffn.value.weight.skales"],
    ["missing-tensor", "blocks.1.ffn.value.weight.codes", "blocks.9.ffn.value.weight.codes"],
    ["dtype-not-read", '{"dtype":"U8","shape":[24,1,16]', '{"dtype":"I8","shape":[24,1,16]'],
    ["shape", '"shape":[24,1,16]', '"shape":[48,1,08]'.replace("08", " 8")],
  ])("%s: %s", async (reason, from, to) => {
    expect(await refusal(patched(from, to))).toBe(`MODEL_BROKEN ${reason}`);
  });

  test("another variant under its name", async () => {
    const swapped = changed((at) => {
      cpSync(join(root, "q8", "weights.q8.safetensors"), join(at, "other"));
      renameSync(join(at, "other"), join(at, "weights.q4.safetensors"));
    });
    expect(await refusal(swapped)).toBe("MODEL_BROKEN variant-kind");
  });

  test("a block size that model.json contradicts", async () => {
    const other = changed((at) => {
      const path = join(at, "model.json");
      writeFileSync(path, readFileSync(path, "utf8").replace('"block": 32', '"block": 128'));
    });
    expect(await refusal(other)).toBe("MODEL_BROKEN variant-block");
  });
});
