/** Opening a model directory: the shape comes from the weights, and what is wrong is named. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ModelError } from "#kernels/errors.ts";
import { canonicalTensors, type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { openModel } from "#kernels/model/model.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { type TensorSource, writeSafetensors } from "#kernels/model/safetensors.ts";

let directory: string;
let config: ModelConfig;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-model-"));
  const shape = { layers: 2, heads: 3, headSize: 8, ffnWidth: 40, vocabSize: 53 };
  config = writeRandomModel(directory, shape, { seed: 1 });
});

afterEach(() => rmSync(directory, { recursive: true }));

const weightsPath = (): string => join(directory, "weights.safetensors");

type Change = (name: string, shape: readonly number[]) => [string, readonly number[]] | null;

/** Rewrites the weights with zeros, each tensor as `change` leaves it: renamed, reshaped or gone. */
function rewrite(change: Change, extra: Record<string, readonly number[]> = {}): void {
  const canonical = [...canonicalTensors(config)].map(([name, shape]) => change(name, shape));
  const kept = canonical.filter((tensor) => tensor !== null);
  const sources = [...kept, ...Object.entries(extra)].map(([name, shape]): TensorSource => {
    const elements = shape.reduce((product, extent) => product * extent, 1);
    return { name, dtype: "F32", shape, bytes: () => new Uint8Array(4 * elements) };
  });
  writeSafetensors(weightsPath(), sources);
}

/** Drops every tensor whose name holds one of `parts`. */
function without(...parts: string[]): Change {
  return (name, shape) => (parts.some((part) => name.includes(part)) ? null : [name, shape]);
}

async function fingerprint(): Promise<string> {
  const model = await openModel(directory);
  model.close();
  return model.fingerprint();
}

async function refusal(path = directory): Promise<{ code: string; reason: string }> {
  try {
    (await openModel(path)).close();
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    const { code, values } = error as ModelError;
    return { code, reason: String(values.reason) };
  }
  return { code: "opened", reason: "" };
}

describe("a sound model", () => {
  test("its shape is derived from the weights", async () => {
    const model = await openModel(directory);
    expect(model.config).toEqual(config);
    expect(model.config).toMatchObject({ version: "5.2", width: 24, heads: 3, headSize: 8 });
    expect(stateLength(model.config)).toBe(2 * 24 * 10);
    expect(model.name).toBe("random");
    expect(model.vocabularyPath).toBeNull();
    model.close();
  });

  test("gives each tensor's numbers and its place in the file", async () => {
    const model = await openModel(directory);
    const bytes = readFileSync(weightsPath());
    for (const [name, shape] of canonicalTensors(config)) {
      const numbers = model.tensor(name);
      const { offset, bytes: size } = model.location(name);
      expect(numbers).toHaveLength(shape.reduce((product, extent) => product * extent, 1));
      expect(Buffer.from(numbers.buffer).equals(bytes.subarray(offset, offset + size))).toBe(true);
    }
    model.close();
  });

  test("vectors may be stored as [1, 1, D]", async () => {
    rewrite((name, shape) => [name, name.includes("time_mix") ? [1, 1, ...shape] : shape]);
    const model = await openModel(directory);
    expect(model.config).toEqual(config);
    model.close();
  });

  test("its fingerprint changes with the weights and the norm's eps, and with nothing else", async () => {
    const description = { format: 1, name: "other name", groupNormEps: config.groupNormEps };
    const describeAs = (changes: object): void =>
      writeFileSync(join(directory, "model.json"), JSON.stringify({ ...description, ...changes }));
    const first = await fingerprint();
    expect(first).toMatch(/^[0-9a-f]{16}$/);
    describeAs({});
    expect(await fingerprint()).toBe(first);
    describeAs({ groupNormEps: 1e-5 });
    expect(await fingerprint()).not.toBe(first);
    describeAs({});
    const bytes = readFileSync(weightsPath());
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(weightsPath(), bytes);
    expect(await fingerprint()).not.toBe(first);
  });

  test("a named vocabulary is found, an absent one is null", async () => {
    const description = { format: 1, name: "named", vocabulary: "vocab.txt" };
    writeFileSync(join(directory, "model.json"), JSON.stringify(description));
    const alone = await openModel(directory);
    expect(alone.vocabularyPath).toBeNull();
    alone.close();
    writeFileSync(join(directory, "vocab.txt"), "");
    const beside = await openModel(directory);
    expect(beside.vocabularyPath).toBe(join(directory, "vocab.txt"));
    beside.close();
  });

  test("the random model is the same for the same seed, and another for another", () => {
    const again = join(directory, "again");
    const shape = { layers: 2, heads: 3, headSize: 8, ffnWidth: 40, vocabSize: 53 };
    writeRandomModel(again, shape, { seed: 1 });
    const bytes = readFileSync(join(again, "weights.safetensors"));
    expect(bytes.equals(readFileSync(weightsPath()))).toBe(true);
    writeRandomModel(again, shape, { seed: 2 });
    expect(bytes.equals(readFileSync(join(again, "weights.safetensors")))).toBe(false);
  });
});

describe("what is refused", () => {
  test("no directory, no description, no weights", async () => {
    expect((await refusal(join(directory, "absent"))).code).toBe("MODEL_NOT_FOUND");
    expect((await refusal(weightsPath())).code).toBe("MODEL_NOT_FOUND");
    mkdirSync(join(directory, "empty"));
    expect((await refusal(join(directory, "empty"))).reason).toBe("no model.json");
    rmSync(weightsPath());
    expect((await refusal()).code).toBe("MODEL_NOT_FOUND");
  });

  test.each([
    ["not JSON", "{", "not JSON"],
    ["another format", { format: 2, name: "a" }, "format"],
    ["no name", { format: 1 }, "name"],
    ["a path out of the directory", { format: 1, name: "a", weights: "../w" }, "weights"],
    ["an unknown field", { format: 1, name: "a", layers: 3 }, "layers"],
    ["eps 0", { format: 1, name: "a", groupNormEps: 0 }, "groupNormEps"],
  ])("a description with %s", async (_name, description, reason) => {
    const text = typeof description === "string" ? description : JSON.stringify(description);
    writeFileSync(join(directory, "model.json"), text);
    const { code, reason: actual } = await refusal();
    expect(code).toBe("MODEL_BROKEN");
    expect(actual).toContain(reason);
  });

  test("a cut weights file", async () => {
    truncateSync(weightsPath(), readFileSync(weightsPath()).length - 4);
    expect(await refusal()).toMatchObject({ code: "MODEL_BROKEN" });
    expect((await refusal()).reason).toContain("truncated");
  });

  test("a missing tensor, a missing block, an unknown tensor, by name", async () => {
    rewrite((name, shape) => (name === "blocks.1.ffn.value.weight" ? null : [name, shape]));
    expect((await refusal()).reason).toBe("missing-tensor: blocks.1.ffn.value.weight");
    rewrite((name, shape) => [name.replace("blocks.1.", "blocks.2."), shape]);
    expect((await refusal()).reason).toContain("missing-tensor: blocks.1.ln1.weight");
    rewrite((name, shape) => [name === "ln_out.bias" ? "ln_out.extra" : name, shape]);
    expect((await refusal()).reason).toBe("missing-tensor: ln_out.bias");
    rewrite((name, shape) => [name, shape], { "blocks.0.att.time_state": [1] });
    expect((await refusal()).reason).toBe("unknown-tensor: blocks.0.att.time_state");
  });

  test("a tensor of another shape, by name", async () => {
    rewrite((name, shape) => [name, name === "blocks.1.att.key.weight" ? [24, 23] : shape]);
    const { reason } = await refusal();
    expect(reason).toBe("shape: blocks.1.att.key.weight is [24, 23], expected [24, 24]");
  });

  test("head sizes outside 8 to 128, and heads that do not fill the width", async () => {
    rewrite((name, shape) => [name, /decay|faaaa/.test(name) ? [6, 4] : shape]);
    expect((await refusal()).reason).toContain("head-size: 4");
    rewrite((name, shape) => [name, /decay|faaaa/.test(name) ? [2, 8] : shape]);
    expect((await refusal()).reason).toContain("width: emb.weight is 24 wide");
  });

  test("weights of something else", async () => {
    rewrite((name, shape) => [name.replace("att.", "attention."), shape]);
    expect((await refusal()).reason).toContain("not-rwkv");
  });

  const versions: [string, string, Change][] = [
    ["4", "Raven", without("ln_x", "gate", "mix_g")],
    ["5.0", "0.1B", without("gate", "mix_g")],
    ["5.1", "one decay per head", (name, shape) => [name, /decay|faaaa/.test(name) ? [3] : shape]],
    ["6", "Finch", (name, shape) => [name.replace("time_mix_", "time_maa_"), shape]],
    ["7", "Goose", (name, shape) => [name.replace("att.time_faaaa", "att.r_k"), shape]],
  ];
  test.each(versions)("version %s, with what to do", async (version, words, change) => {
    rewrite(change);
    const { code, reason } = await refusal();
    expect(code).toBe("MODEL_VERSION");
    expect(reason).toContain(`RWKV-v${version}`);
    expect(reason).toContain(words);
    expect(reason).toContain("World v2");
  });
});
