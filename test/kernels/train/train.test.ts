/**
 * The trainer, run as a community runs it: two small languages of its own, a tiny model, seconds.
 * Needs Debian's python3-torch; where it is missing, everything here is skipped.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { openReference } from "#kernels/backends/reference/reference.ts";
import { SafetensorsFile } from "#kernels/model/safetensors.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

const python = "/usr/bin/python3";
const room = fileURLToPath(new URL("../../../kernels/train/", import.meta.url));
const shipped = fileURLToPath(new URL("../../../kernels/models/eaglet", import.meta.url));
const hasTorch =
  existsSync(python) && spawnSync(python, ["-c", "import torch, numpy"]).status === 0;

/** Both sides compute in fp32, in another order of summation. */
const toleranceOfScale = 1e-4;

const pair = z.tuple([z.number(), z.number()]);
const goldenSchema = z.object({
  cases: z.array(
    z.object({
      tokens: z.array(z.number()),
      scale: z.number(),
      top: z.array(pair),
      spread: z.array(pair),
    }),
  ),
});
const curveSchema = z.object({ steps: z.number(), curve: z.array(z.object({ loss: z.number() })) });

const recipe = {
  name: "tiny",
  languages: ["xa", "xb"],
  data: "dialogues",
  shape: { layers: 2, width: 64, headSize: 32, ffnWidth: 96 },
  vocabularySize: 640,
  rows: 4,
  rowTokens: 32,
  learningRate: 0.02,
  weightDecay: 0.1,
  focusFloor: 0.3,
  seed: 7,
};

const dialogues = `
@thing = tea|rain
[greeting]
> Good day to you.
(hello|hi) (there|)
good day
[like]
> I like {word}, too.
I like {thing}
do you like {thing}
[name.tell]
> Welcome, {name}.
my name is {name}
[name.recall]
> You are {name}.
who am I
`;

let folder = "";

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function train(...words: string[]): Outcome {
  const { status, stdout, stderr } = spawnSync(python, [join(room, "train.py"), ...words], {
    cwd: folder,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

function trained(...words: string[]): void {
  expect(train("--device", "cpu", ...words)).toMatchObject({ status: 0, stderr: "" });
}

function writeRecipe(name: string, changes: object): string {
  const path = join(folder, `${name}.json`);
  writeFileSync(path, JSON.stringify({ ...recipe, ...changes }));
  return path;
}

/** One line, which is no stack trace. */
function expectRefusal({ status, stderr }: Outcome, exitCode: number, words: RegExp): void {
  expect(stderr).toMatch(words);
  expect(stderr).toMatch(/^train: [^\n]*\n$/);
  expect(status).toBe(exitCode);
}

function readCurve(path: string): z.infer<typeof curveSchema> {
  return curveSchema.parse(JSON.parse(readFileSync(join(folder, path), "utf8")));
}

/** The first and the last point of a loss curve (smoothed: the last stands above the last loss). */
function expectLowered(work: string): void {
  const { curve } = readCurve(`${work}/tiny.loss.json`);
  expect(curve.at(-1)?.loss).toBeLessThan(0.97 * (curve[0]?.loss ?? 0));
}

function sha256(path: string): string {
  return createHash("sha256")
    .update(readFileSync(resolve(folder, path)))
    .digest("hex");
}

function shapesOf(path: string): Record<string, readonly number[]> {
  const file = SafetensorsFile.open(join(folder, path));
  file.close();
  return Object.fromEntries([...file.tensors].map(([name, { shape }]) => [name, shape]));
}

/** `__metadata__` of a safetensors file. */
function metadataOf(path: string): unknown {
  const bytes = readFileSync(join(folder, path));
  const header: unknown = JSON.parse(
    bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString("utf8"),
  );
  return z.object({ __metadata__: z.record(z.string(), z.string()) }).parse(header).__metadata__;
}

describe.skipIf(!hasTorch)("the trainer", () => {
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "eyrie-train-"));
    mkdirSync(join(folder, "dialogues"));
    writeFileSync(join(folder, "dialogues/xa.txt"), dialogues);
    writeFileSync(join(folder, "dialogues/xb.txt"), dialogues.replaceAll("good day", "hej"));
    const own = dialogues
      .replace("Good day to you", "Ahoy, sailor")
      .replace("I like {word}", "Arr, {word}");
    writeFileSync(join(folder, "dialogues/xc.txt"), own);
    const harbour =
      "\n[harbour]\n> The harbour bell.\nharbour bells\nthe harbour bell\na harbour bell\n";
    writeFileSync(join(folder, "dialogues/xd.txt"), dialogues + harbour);
    writeFileSync(join(folder, "dialogues/broken.txt"), "[greeting]\n> Hello.\nhello (there\n");
    writeRecipe("recipe", {});
    trained("--recipe", "recipe.json", "--steps", "20", "--out", "model", "--work", "whole");
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  test("the chunked form is the one-token form, and a fresh model can recall", () => {
    const { status, stdout } = spawnSync(python, [join(room, "model.py")], { encoding: "utf8" });
    expect(stdout).toContain("lora");
    expect(stdout).toContain("recall before any training");
    expect(status).toBe(0);
  });

  test("exports a model that our reference opens and computes alike", async () => {
    const { cases } = goldenSchema.parse(
      JSON.parse(readFileSync(join(folder, "model/golden.json"), "utf8")),
    );
    const tokenizer = Tokenizer.open(join(folder, "model/vocab.txt"));
    expect(tokenizer.encode("User: Hello, who are you?\n\nAssistant:")).toEqual(cases[0]?.tokens);
    const backend = await openReference(join(folder, "model"), { slots: 1, threads: 1 });
    expect(backend.config).toMatchObject({ layers: 2, width: 64, headSize: 32, ffnWidth: 96 });
    for (const { tokens, scale, top, spread } of cases) {
      backend.writeState(0, null);
      const [row] = await backend.step({ rows: [{ slot: 0, tokens, want: "last" }] });
      for (const [id, wanted] of [...top, ...spread]) {
        const error = Math.abs((row?.logits?.[id] ?? Number.NaN) - wanted);
        expect(error).toBeLessThan(toleranceOfScale * scale);
      }
    }
    backend.close();
  });

  test("a run in two parts ends with the bits of a run in one", () => {
    const run = [
      "--recipe",
      "recipe.json",
      "--steps",
      "20",
      "--out",
      "parts",
      "--work",
      "parts-work",
    ];
    trained(...run, "--pause-at", "7");
    expect(existsSync(join(folder, "parts"))).toBe(false);
    trained(...run, "--resume");
    const weights = (name: string): Buffer =>
      readFileSync(join(folder, name, "weights.safetensors"));
    expect(weights("parts").equals(weights("model"))).toBe(true);
    expect(readCurve("parts-work/tiny.loss.json").steps).toBe(20);
    expect(readFileSync(join(folder, "parts-work/tiny.loss.svg"), "utf8")).toContain("<polyline");
  });

  test("Ctrl-C leaves a checkpoint and says how to go on", async () => {
    const words = ["--recipe", "recipe.json", "--steps", "100000", "--device", "cpu"];
    const child = spawn(
      python,
      [join(room, "train.py"), ...words, "--out", "long", "--work", "long"],
      {
        cwd: folder,
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    let printed = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (printed === "") child.kill("SIGINT");
      printed += text;
    });
    const status = await new Promise((done) => child.once("close", done));
    expect(printed).toMatch(/tokens\/s.*left/);
    expect(printed).toMatch(/go on with: python3 .*--resume/);
    expect(status).toBe(130);
    expect(existsSync(join(folder, "long/checkpoint.safetensors"))).toBe(true);
  });

  test("a base goes on with a larger vocabulary: old rows kept, new ones made of their pieces", () => {
    writeRecipe("larger", {
      languages: ["xa", "xb", "xd"],
      vocabularySize: 704,
      learningRate: 1e-9,
      weightDecay: 0,
    });
    const run = ["--recipe", "larger.json", "--base", "model", "--steps", "1", "--out", "larger"];
    trained(...run, "--work", "larger-work");
    const compare = `
import base, vocabulary
small, large = base.open_base("${folder}/model"), base.open_base("${folder}/larger")
tokenizer = vocabulary.Tokenizer(vocabulary.read(small.vocabulary))
kept = made = 0
for identifier, entry in enumerate(vocabulary.read(large.vocabulary), 1):
    pieces = tokenizer.encode_bytes(entry)
    for name, row in (("emb", small.weights["emb.weight"][pieces].mean(0)),
                      ("head", small.weights["head.weight"][pieces[0]])):
        difference = (large.weights[f"{name}.weight"][identifier] - row).abs().max().item()
        assert difference < 1e-3, (entry, name, difference)
    kept += len(pieces) == 1
    made += len(pieces) > 1
assert kept == len(tokenizer.entries) and made > 0, (kept, made)
`;
    expect(spawnSync(python, ["-c", compare], { cwd: room, encoding: "utf8" })).toMatchObject({
      status: 0,
      stderr: "",
    });
  });

  test("twenty steps of LoRA lower the loss and write the pairs and whole parts", () => {
    writeRecipe("lora", {
      languages: ["xc"],
      mode: "lora",
      rows: 32, // the first batch is like the last
      rank: 4,
      alpha: 8,
      train: ["time", "ln"],
      weightDecay: 0,
    });
    trained(
      "--recipe",
      "lora.json",
      "--base",
      "model",
      "--steps",
      "20",
      "--out",
      "ours.safetensors",
      "--work",
      "lora",
    );

    const expected: Record<string, number[]> = {
      "blocks.0.ln0.weight": [64],
      "blocks.0.ln0.bias": [64],
    };
    for (const block of ["blocks.0", "blocks.1"]) {
      const matrices = {
        "att.receptance": [64, 64],
        "att.key": [64, 64],
        "att.value": [64, 64],
        "att.gate": [64, 64],
        "att.output": [64, 64],
        "ffn.key": [96, 64],
        "ffn.receptance": [64, 64],
        "ffn.value": [64, 96],
      };
      for (const [matrix, [outputs = 0, inputs = 0]] of Object.entries(matrices)) {
        expected[`${block}.${matrix}.lora_A`] = [4, inputs];
        expected[`${block}.${matrix}.lora_B`] = [outputs, 4];
      }
      for (const mix of ["att.time_mix_k", "att.time_mix_v", "att.time_mix_r", "att.time_mix_g"]) {
        expected[`${block}.${mix}`] = [64];
      }
      for (const mix of ["ffn.time_mix_k", "ffn.time_mix_r"]) expected[`${block}.${mix}`] = [64];
      for (const part of ["time_decay", "time_faaaa"]) expected[`${block}.att.${part}`] = [2, 32];
      for (const norm of ["ln1", "ln2", "att.ln_x"]) {
        expected[`${block}.${norm}.weight`] = [64];
        expected[`${block}.${norm}.bias`] = [64];
      }
    }
    expect(shapesOf("ours.safetensors")).toEqual(expected);
    expect(metadataOf("ours.safetensors")).toMatchObject({
      mode: "lora",
      name: "tiny",
      languages: "xc",
      rank: "4",
      alpha: "8",
      base_sha256: sha256("model/weights.safetensors"),
    });
    expectLowered("lora");
  });

  test("ten steps of state tuning lower the loss and write the initial states alone", () => {
    writeRecipe("state", { languages: ["xc"], mode: "state", learningRate: 0.3 });
    trained(
      "--recipe",
      "state.json",
      "--base",
      shipped,
      "--steps",
      "10",
      "--out",
      "state.safetensors",
      "--work",
      "state",
    );
    expect(shapesOf("state.safetensors")).toEqual(
      Object.fromEntries(
        [0, 1, 2, 3, 4, 5].map((n) => [`blocks.${n}.att.time_state`, [4, 64, 64]]),
      ),
    );
    expect(metadataOf("state.safetensors")).toMatchObject({
      mode: "state",
      time_state: "[head][value][key]",
      base_sha256: sha256(join(shipped, "weights.safetensors")),
    });
    expectLowered("state");
  });

  test("a slip in the command or the recipe is told in one line", () => {
    const run = ["--recipe", "recipe.json", "--steps", "20"];
    expectRefusal(train("--recipe", "none.json"), 2, /none\.json cannot be read/);
    expectRefusal(train(...run, "--mode", "dream"), 2, /mode must be pretrain, lora or state/);
    expectRefusal(train(...run, "--mode", "lora"), 2, /--base/);
    expectRefusal(train(...run, "--base", "nowhere"), 2, /no model in nowhere/);
    writeRecipe("typo", { learnigRate: 1 });
    expectRefusal(train("--recipe", "typo.json"), 2, /unknown setting learnigRate/);
    writeRecipe("shares", { shares: { xa: -1 } });
    expectRefusal(train("--recipe", "shares.json"), 2, /shares must be how often each language/);
    writeRecipe("klingon", { languages: ["xa", "tlh"] });
    expectRefusal(
      train("--recipe", "klingon.json"),
      2,
      /no dialogues for language tlh.*xa, xb, xc, xd/,
    );
  });

  test("a broken file is named with its line, a strange vocabulary refused", () => {
    writeRecipe("broken", { languages: ["broken"] });
    expectRefusal(train("--recipe", "broken.json"), 1, /broken\.txt:3: choices are written/);

    cpSync(join(folder, "model"), join(folder, "misfit"), { recursive: true });
    const words = readFileSync(join(folder, "model/vocab.txt"), "utf8");
    const ids = words.trimEnd().split("\n").length;
    const more = Array.from({ length: 64 }, (_, n) => `${ids + n + 1} '~${n + 100}' 4\n`).join("");
    writeFileSync(join(folder, "misfit/vocab.txt"), words + more);
    expectRefusal(
      train("--recipe", "recipe.json", "--mode", "state", "--base", "misfit", "--out", "x"),
      1,
      /vocabulary misfit\/vocab\.txt is not this model's/,
    );
  });

  test("a full disk keeps the checkpoint before; another run's is refused", () => {
    writeRecipe("other", { seed: 8 });
    const go = ["--steps", "21", "--work", "whole", "--out", "again"];
    const other = train("--recipe", "other.json", ...go, "--resume");
    expectRefusal(
      other,
      2,
      /checkpoint whole\/checkpoint\.safetensors belongs to another run \(other recipe\)/,
    );

    const before = sha256("whole/checkpoint.safetensors");
    symlinkSync("/dev/full", join(folder, "whole/checkpoint.safetensors.partial"));
    const full = train("--recipe", "recipe.json", ...go, "--resume");
    expectRefusal(full, 1, /cannot write whole\/checkpoint\.safetensors: No space left/);
    expect(sha256("whole/checkpoint.safetensors")).toBe(before);
  });
});
