/** `eyrie model convert` as a person runs it: help, tables, JSON, exit codes, one line per error. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { weights, writePth } from "#test/kernels/formats/models.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

const root = resolve(import.meta.dirname, "../../..");
const eaglet = join(root, "kernels/models/eaglet");
const hostile = join(root, "test/corpus/pth/pickle-global.os-system.pth");
let directory: string;
let pth: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-convert-cli-"));
  pth = writePth(join(directory, "small.pth"), weights());
});
afterAll(() => rmSync(directory, { recursive: true }));

const convert = (...args: string[]): Promise<Outcome> => eyrie(["model", "convert", ...args]);
const at = (name: string): string => join(directory, name);
const filesNamed = (part: string) => readdirSync(directory).filter((name) => name.includes(part));

function expectError(outcome: Outcome, code: string, exitCode: 1 | 2): void {
  expect(errorLines(outcome)).toEqual([expect.stringMatching(new RegExp(`^${code}: .{20,}`))]);
  expect(outcome.code).toBe(exitCode);
  expect(outcome.out).toBe("");
}

test("--help explains its options", async () => {
  const { code, out } = await convert("--help");
  expect(code).toBe(0);
  for (const word of [
    "--out",
    "--vocab",
    "--group-norm-eps",
    "--quantise",
    "--block",
    "--name",
    "--force",
    "--json",
  ]) {
    expect(out).toContain(word);
  }
});

test("a table for people, JSON for programs, and a model that runs", async () => {
  const vocabulary = join(eaglet, "vocab.txt");
  const whole = await convert(eaglet, "--out", at("eaglet"), "--vocab", vocabulary, "--name", "E");
  expect(whole.code).toBe(0);
  expect(whole.out).toContain("RWKV-v5.2 (Eagle)");
  expect(whole.err).not.toContain("vocab.txt");
  const ids = await eyrie(["tokenize", "--model", at("eaglet"), "Hello"]);
  expect(ids.out).toMatch(/^\d+(,\d+)*\n$/);

  const bare = await convert(pth, "--out", at("small"), "--group-norm-eps", "1e-5", "--json");
  expect(bare.code).toBe(0);
  expect(JSON.parse(bare.out)).toMatchObject({ name: "small", vocabulary: null, layers: 2 });
  expect(JSON.parse(bare.out)).toMatchObject({ groupNormEps: 1e-5 });
  expect(bare.err).toContain("vocab.txt");
  const logits = await eyrie(["logits", "--model", at("small"), "--tokens", "1,2"]);
  expect((JSON.parse(logits.out) as { logits: number[] }).logits).toHaveLength(10);
});

test("the current folder is a place like any other", async () => {
  mkdirSync(at("here"));
  const here = { cwd: at("here") };
  const made = await eyrie(["model", "convert", pth, "--out", ".", "--json"], here);
  expect(made.err).toContain(`into ${at("here")} as vocab.txt`);
  expect(made.code).toBe(0);
  expect(readdirSync(at("here")).sort()).toEqual(["model.json", "weights.safetensors"]);
});

test("a model without a vocabulary runs by token ids, from convert to generate", async () => {
  const shape = { layers: 2, heads: 2, headSize: 8, ffnWidth: 24, vocabSize: 40 };
  writeRandomModel(at("random"), shape, { seed: 3 });
  const made = await convert(at("random/weights.safetensors"), "--out", at("bare"));
  expect(made.err).toContain("it runs by token ids only");
  const run = (verb: string, ...args: string[]) => eyrie([verb, "--model", at("bare"), ...args]);
  const ids = ["--max-tokens", "6", "--temperature", "2", "--top-p", "1"];
  const generated = await run("generate", "--tokens", "1,2,3", ...ids);
  expect(generated.out).toMatch(/^\d+(,\d+){5}\n$/);
  const json = await run("generate", "--tokens", "1,2,3", ...ids, "--json");
  expect(JSON.parse(json.out)).toEqual({ tokens: generated.out.trim().split(",").map(Number) });
  // The first of them, drawn greedily, is the likeliest of `logits`.
  const greedy = await run(
    "generate",
    "--tokens",
    "1,2,3",
    "--max-tokens",
    "1",
    "--temperature",
    "0",
  );
  const top = await run("logits", "--tokens", "1,2,3", "--top", "1");
  const [best] = (JSON.parse(top.out) as { top: { token: number }[] }).top;
  expect(greedy.out).toBe(`${best?.token}\n`);

  expectError(await run("generate", "--prompt", "Hello"), "VOCABULARY_MISSING", 1);
  expectError(await run("generate"), "USAGE", 2);
  expectError(await run("generate", "--tokens", "1", "--prompt", "Hello"), "USAGE", 2);
  expectError(await run("generate", "--tokens", "40"), "TOKEN_OUT_OF_RANGE", 2);
});

test("a folder with a .pth in it is converted as its file is, and gives the model its name", async () => {
  const folder = mkdtempSync(at("eagle-0.1-"));
  writePth(join(folder, "v5.pth"), weights());
  const made = await convert(folder, "--out", at("from-folder"), "--json");
  expect(made.code).toBe(0);
  expect(JSON.parse(made.out)).toMatchObject({ name: relative(directory, folder), layers: 2 });
  await convert(pth, "--out", at("from-file"));
  const [one, other] = ["from-folder", "from-file"].map((name) =>
    readFileSync(at(`${name}/weights.safetensors`)),
  );
  expect(one).toEqual(other);
});

test("variants: made, measured, listed in model.json, and run by name", async () => {
  const vocabulary = join(eaglet, "vocab.txt");
  const made = await convert(eaglet, "--out", at("variants"), "--quantise", "q8, q4");
  expect(made.code).toBe(0);
  expect(made.err).toMatch(/q8: mean KL divergence \S+ nats, same likeliest token [\d.]+ %/);
  expect(readdirSync(at("variants")).sort()).toEqual([
    "model.json",
    "vocab.txt",
    "weights.q4.safetensors",
    "weights.q8.safetensors",
  ]);
  expect(readFileSync(at("variants/vocab.txt"))).toEqual(readFileSync(vocabulary));
  const args = ["logits", "--model", at("variants"), "--tokens", "85,115,1,2,3"];
  const top = async (...more: string[]): Promise<number[]> => {
    const { out } = await eyrie([...args, "--top", "3", ...more]);
    return (JSON.parse(out) as { top: { logit: number }[] }).top.map(({ logit }) => logit);
  };
  const auto = await top();
  expect(await top("--quantise", "q8")).toEqual(auto);
  expect(await top("--quantise", "q4")).not.toEqual(auto);
  expectError(await eyrie([...args, "--quantise", "none"]), "MODEL_VARIANT_MISSING", 1);

  const unmeasured = await convert(pth, "--out", at("small-q4"), "--quantise", "none,q4");
  expect(unmeasured.code).toBe(0);
  expect(unmeasured.err).toContain("was not measured: without a vocabulary");
});

test("a terminal that is closed leaves nothing behind", async () => {
  const args = ["model", "convert", eaglet, "--out", at("hung"), "--quantise", "q8,q4"];
  const child = spawn(process.execPath, ["eyrie.mjs", ...args], { cwd: root });
  let err = "";
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  await expect.poll(() => filesNamed("hung"), { timeout: 30_000 }).toHaveLength(1);
  child.kill("SIGHUP");
  expect(await new Promise((done) => child.once("close", done))).toBe(1);
  expect(err).toMatch(/^CONVERT_STOPPED: /m);
  expect(filesNamed("hung")).toEqual([]);
});

describe("what goes wrong", () => {
  test.each([
    [["IN"], "--out"],
    [["IN", "--out", "x", "--group-norm-eps", "0"], "--group-norm-eps"],
    [["IN", "--out", "x", "--name", ""], "--name"],
    [["IN", "--out", "x", "--quantise", "q5"], "--quantise"],
    [["IN", "--out", "x", "--block", "64"], "--block"],
    [["--out", "x"], "in"],
  ])("bad usage ends with 2: %j", async (args, named) => {
    const outcome = await convert(...args);
    expectError(outcome, "USAGE", 2);
    expect(outcome.err).toContain(named);
  });

  test("each with its code, in the operator's language", async () => {
    expectError(await convert(hostile, "--out", at("x")), "MODEL_UNSAFE", 1);
    expectError(await convert(at("gone.pth"), "--out", at("x")), "MODEL_NOT_FOUND", 1);
    const page = at("page.pth");
    writeFileSync(page, "<!DOCTYPE html>");
    expectError(await convert(page, "--out", at("x")), "MODEL_KIND", 1);
    expectError(await convert(pth, "--out", directory), "MODEL_EXISTS", 1);
    expectError(await convert(pth, "--out", at("x"), "--vocab", page), "VOCABULARY_BROKEN", 1);
    const args = ["model", "convert", hostile, "--out", at("x")];
    const german = await eyrie(args, { environment: { EYRIE_LOCALE: "de" } });
    expect(german.err).toContain("nichts daraus wurde ausgeführt");
    expect(readdirSync(directory)).not.toContain("x");
  });

  test("the hostile file did hold a command", () => {
    expect(readFileSync(hostile).includes("cos\nsystem\n")).toBe(true);
  });
});
