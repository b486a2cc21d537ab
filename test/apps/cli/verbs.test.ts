import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { eyrie } from "./eyrie.ts";

const eaglet = resolve(import.meta.dirname, "../../../kernels/models/eaglet");
const directory = mkdtempSync(join(tmpdir(), "eyrie-verbs-"));

afterAll(() => rmSync(directory, { recursive: true }));

interface Logits {
  readonly logits: readonly number[];
}

describe("help", () => {
  test("lists the verbs and ends with 0", async () => {
    const { code, out } = await eyrie(["--help"]);
    expect(code).toBe(0);
    for (const verb of ["start", "chat", "generate", "logits", "tokenize", "model", "doctor"]) {
      expect(out).toContain(verb);
    }
  });

  test.each(["start", "chat", "generate", "logits", "tokenize", "doctor"])(
    "%s --help explains its options",
    async (verb) => {
      const { code, out } = await eyrie([verb, "--help"]);
      expect(code).toBe(0);
      expect(out).toContain(`Usage: eyrie ${verb}`);
      expect(out).toContain("--help");
    },
  );

  test("no verb at all shows the help and counts as bad usage", async () => {
    const { code, out, err } = await eyrie([]);
    expect(code).toBe(2);
    expect(out + err).toContain("Usage: eyrie");
  });

  test.each(["model", "bench", "conversation", "keys"])(
    "%s alone shows its own verbs and counts as bad usage",
    async (group) => {
      const { code, out, err } = await eyrie([group]);
      expect({ code, out }).toEqual({ code: 2, out: "" });
      expect(err).toMatch(new RegExp(`^Usage: eyrie ${group} `));
      expect(err.match(/Usage:/g)).toHaveLength(1);
    },
  );
});

test("logits: the same on every backend", async () => {
  const args = ["logits", "--model", eaglet, "--tokens", "85,115,1,2,3,257"];
  const [onnx, reference] = await Promise.all(
    ["onnx", "reference"].map((name) => eyrie([...args, "--backend", name])),
  );
  const a = JSON.parse(onnx?.out ?? "") as Logits;
  const b = JSON.parse(reference?.out ?? "") as Logits;
  expect(a.logits.length).toBe(b.logits.length);
  const scale = Math.max(...b.logits.map(Math.abs));
  for (const [index, value] of a.logits.entries()) {
    expect(Math.abs(value - (b.logits[index] ?? Number.NaN))).toBeLessThan(1e-5 * scale);
  }
});

test("tokenize prints ids that stand for the text", async () => {
  const text = "Grüß dich, Eaglet! こんにちは 🪶";
  const ids = (await eyrie(["tokenize", "--model", eaglet, text])).out.trim();
  const json = JSON.parse((await eyrie(["tokenize", "--model", eaglet, text, "--json"])).out) as {
    ids: number[];
  };
  expect(json.ids.join(",")).toBe(ids);
  expect(json.ids.every(Number.isInteger)).toBe(true);
});

test("generate repeats itself with equal seeds and not with others", async () => {
  const prompt = "User: Hello, who are you?\n\nAssistant:";
  const run = async (seed: string): Promise<string> => {
    const fixed = ["--max-tokens", "24", "--top-p", "1", "--temperature", "1.5"];
    const args = ["generate", "--model", eaglet, "--prompt", prompt, "--seed", seed, ...fixed];
    return (await eyrie(args)).out;
  };
  const [first, again, other] = await Promise.all([run("a"), run("a"), run("b")]);
  expect(first).toBe(again);
  expect(first).not.toBe(other);
});

test("the engine opens however long the command line is", async () => {
  const path = join(directory, "small");
  const shape = { layers: 1, heads: 1, headSize: 8, ffnWidth: 8, vocabSize: 16 };
  writeRandomModel(path, shape, { seed: 1 });
  const tokens = `1,${" ".repeat(100_000)}2`;
  const { code, out } = await eyrie(["logits", "--model", path, "--tokens", tokens]);
  expect(code).toBe(0);
  expect((JSON.parse(out) as Logits).logits).toHaveLength(16);
});

test("a reader that leaves early is no error", () => {
  const command = `"${process.execPath}" eyrie.mjs logits --model "${eaglet}" --tokens 1 | head -c 5`;
  const cwd = join(eaglet, "../../..");
  expect(execFileSync("bash", ["-o", "pipefail", "-c", command], { cwd }).toString()).toBe('{"log');
});

test("model inspect names sizes that people ask for", async () => {
  const { code, out } = await eyrie(["model", "inspect", eaglet, "--json"]);
  expect(code).toBe(0);
  const facts = JSON.parse(out) as Record<string, unknown>;
  expect(facts).toMatchObject({ name: "eaglet", version: "5.2", headSize: 64 });
  const { layers, width, headSize, stateBytes } = facts as Record<string, number>;
  expect(stateBytes).toBe(4 * (layers ?? 0) * (width ?? 0) * ((headSize ?? 0) + 2));
  expect((await eyrie(["model", "inspect", eaglet])).out).toContain("RWKV-v5.2");
});

test("doctor finds this machine fit, and prints every switch", async () => {
  const { code, out } = await eyrie(["doctor"]);
  expect(code).toBe(0);
  expect(out).toContain("✓ Node");
  expect(out).toContain("✓ model");
  expect(out).toContain("EYRIE_SLOTS");
});
