/** `eyrie model inspect` on what people have: our directories, downloads, and things that are no model. */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stateLength } from "#kernels/model/config.ts";
import { openModel } from "#kernels/model/model.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import {
  config,
  renamed,
  toHuggingFace,
  weights,
  writePth,
  writeShards,
} from "#test/kernels/formats/models.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

const root = resolve(import.meta.dirname, "../../..");
const eaglet = join(root, "kernels/models/eaglet");
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-inspect-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const at = (name: string): string => join(directory, name);
const inspect = (path: string, ...more: string[]): Promise<Outcome> =>
  eyrie(["model", "inspect", path, ...more]);

interface Facts {
  readonly fingerprint: string | null;
  readonly stateBytes: number;
  readonly snapshotBytes: Record<string, number>;
  readonly opens: string | null;
  readonly slots: number;
  readonly next: string | null;
  readonly variants: {
    readonly quantise: string;
    readonly file: string | null;
    readonly fileBytes: number;
    readonly memoryBytes: number;
  }[];
}

async function facts(path: string): Promise<Facts> {
  const { code, out } = await inspect(path, "--json");
  expect(code).toBe(0);
  return JSON.parse(out) as Facts;
}

function folder(name: string, fill: (at: string) => void): string {
  mkdirSync(at(name));
  fill(at(name));
  return at(name);
}

describe("a model directory", () => {
  test("is told in a table, with every codec and quantisation", async () => {
    const { code, out } = await inspect(eaglet);
    expect(code).toBe(0);
    const { card } = JSON.parse(readFileSync(join(eaglet, "model.json"), "utf8")) as {
      card: { languages: string[] };
    };
    expect(out).toMatch(new RegExp(`^languages +${card.languages.join(", ")}$`, "m"));
    expect(out).toMatch(/^state +\d+\.\d KiB a conversation/m);
    expect(out).toMatch(/^snapshot +f32 \d.* KiB, f16 \d.* KiB, int8 \d.* KiB$/m);
    expect(out).toMatch(/^none +\d+\.\d MiB .* runs unless another is asked for$/m);
    expect(out).toMatch(/^q4 +(would be )?\d/m);
    expect(Math.max(...out.split("\n").map(({ length }) => length))).toBeLessThan(140);
  });

  test("in JSON, with sizes that follow from its shape", async () => {
    const model = await openModel(eaglet);
    model.close();
    const { layers, width: D, headSize: N, ffnWidth: F, vocabSize: V } = model.config;
    const told = await facts(eaglet);
    const elements = layers * D * (N + 2);
    expect(told.stateBytes).toBe(4 * elements);
    const int8 = elements + (2 * elements) / N;
    expect(told.snapshotBytes).toEqual({ f32: 4 * elements, f16: 2 * elements, int8 });
    const [none, q8, q4] = told.variants;
    expect(none).toMatchObject({ quantise: "none", fileBytes: statSync(model.weightsPath).size });
    // 4, 1 + 4/32 and 1/2 + 4/32 bytes for a number of a matrix; the head has 8 bits in both.
    const matrices = layers * (6 * D * D + 2 * D * F);
    const [plain, eight, four] = [none, q8, q4].map((one) => one?.memoryBytes ?? Number.NaN);
    expect(plain! - eight!).toBe((4 - 1.125) * (matrices + V * D));
    expect(eight! - four!).toBe(0.5 * matrices);
    expect(told.next).toBe(null);
  });

  test("of a quantised variant alone", async () => {
    const shape = { layers: 2, heads: 2, headSize: 32, ffnWidth: 128, vocabSize: 256 };
    writeRandomModel(at("q4"), shape, { seed: 1, quantise: "q4", block: 128 });
    const told = await facts(at("q4"));
    expect(told.opens).toBe("q4");
    const [none, , q4] = told.variants;
    expect(none?.file).toBe(null);
    expect(q4).toMatchObject({ file: at("q4/weights.q4.safetensors"), block: 128 });
    expect(q4?.fileBytes).toBe(readFileSync(at("q4/weights.q4.safetensors")).length);
    expect((await inspect(at("q4"))).out).toMatch(/^q4, block 128 .* runs unless/m);
  });

  test("without a vocabulary runs by token ids", async () => {
    const shape = { layers: 1, heads: 1, headSize: 8, ffnWidth: 8, vocabSize: 16 };
    writeRandomModel(at("bare"), shape, { seed: 1 });
    expect((await inspect(at("bare"))).out).toContain("16, no file: runs by token ids only");
  });

  test("whose name or card would steer the terminal", async () => {
    cpSync(eaglet, at("loud"), { recursive: true });
    const path = at("loud/model.json");
    const description = JSON.parse(readFileSync(path, "utf8")) as {
      name: string;
      card: object;
    };
    description.name = "loud\u001b]0;boo\u0007er";
    description.card = {
      about: "\u001b[2Jboo\u0007",
      links: { home: "x" },
      long: "y".repeat(5000),
    };
    writeFileSync(path, JSON.stringify(description));
    const { code, out } = await inspect(at("loud"));
    expect(code).toBe(0);
    expect(out).toMatch(/^model +loud\]0;booer$/m);
    expect(out).toMatch(/^about +\[2Jboo$/m);
    expect(out).toContain('{"home":"x"}');
    expect(out.length).toBeLessThan(4000);
  });
});

describe("weights as downloaded", () => {
  test.each<[string, () => string, string]>([
    ["a .pth", () => writePth(at("small.pth"), weights()), "torch, BlinkDL names"],
    [
      "a folder of a pull",
      () =>
        folder("pulled", (to) => {
          writePth(join(to, "RWKV-5-World.pth"), weights());
          writeFileSync(join(to, "rwkv_vocab_v20230424.txt"), "1 'a' 1\n");
        }),
      "torch, BlinkDL names",
    ],
    [
      "shards of Hugging Face",
      () =>
        folder("shards", (to) =>
          writeShards(to, "model.safetensors", renamed(weights(), toHuggingFace)),
        ),
      "safetensors, Hugging Face names",
    ],
  ])("%s", async (_, make, format) => {
    const path = make();
    const told = await facts(path);
    expect(told).toMatchObject({ format: `${format}; not converted`, opens: null, layers: 2 });
    expect(told.fingerprint).toBe(null);
    expect(told.stateBytes).toBe(4 * stateLength(config));
    const { out } = await inspect(path);
    // What it says to do next does it.
    const [, command = ""] = /^→ npx eyrie (.*)$/m.exec(out) ?? [];
    expect(command).toContain("model convert");
    const args = command.split(" ").filter((_word, index, words) => {
      return words[index] !== "--vocab" && words[index - 1] !== "--vocab";
    });
    expect((await eyrie(args)).code).toBe(0);
    const converted = args[args.indexOf("--out") + 1] ?? "";
    expect(await facts(converted)).toMatchObject({ opens: "none", layers: 2 });
  });
});

test.each<[string, () => string, string]>([
  ["nowhere", () => at("nowhere"), "MODEL_NOT_FOUND"],
  ["an empty folder", () => folder("empty", () => {}), "MODEL_NOT_FOUND"],
  [
    "a hostile pickle",
    () => join(root, "test/corpus/pth/pickle-global.os-system.pth"),
    "MODEL_UNSAFE",
  ],
  [
    "a text",
    () => {
      writeFileSync(at("text"), "Dear diary, today I was no model at all.");
      return at("text");
    },
    "MODEL_KIND",
  ],
  [
    "weights of another version",
    () =>
      writePth(
        at("v4.pth"),
        weights().filter(({ name }) => !/ln_x|gate|time_mix_g/.test(name)),
      ),
    "MODEL_VERSION",
  ],
])("%s is refused in one line with a code", async (_, make, code) => {
  const outcome = await inspect(make());
  expect(errorLines(outcome)).toEqual([expect.stringMatching(new RegExp(`^${code}: .{20,}`))]);
  expect(outcome).toMatchObject({ code: 1, out: "" });
});
