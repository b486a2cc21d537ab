/** `eyrie bench engine`: the figures it prints hang together. How large they are is no test's business. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { barsSvg } from "#apps/cli/bench/plot.ts";
import type { EngineFacts, EngineRow } from "#apps/cli/bench/engines.ts";
import { worldShapes } from "#apps/cli/bench/shapes.ts";
import { memoryNeeds } from "#kernels/model/memory.ts";
import { openModel } from "#kernels/model/model.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

const root = resolve(import.meta.dirname, "../../..");
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-bench-cli-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const at = (name: string): string => join(directory, name);
/** Processes start and stop; a busy machine takes its time. */
const patienceMs = 120_000;
const quick = ["--shape", "eaglet", "--rounds", "1", "--threads", "1"];

function bench(...args: string[]): Promise<Outcome> {
  // Its temporary files go where nobody else's are.
  const environment = { EYRIE_HOME: directory, TMPDIR: directory };
  return eyrie(["bench", "engine", ...args], { environment });
}

interface Report {
  readonly bench: string;
  readonly commit: string;
  readonly readBytesPerSecond: number;
  readonly threads: number;
  readonly rows: readonly EngineRow[];
  readonly engines: readonly EngineFacts[];
}

test(
  "every engine in every mode, with figures that follow from one another",
  async () => {
    const args = [
      "--quantise",
      "none,q4",
      "--block",
      "32,128",
      "--batch",
      "1,3",
      "--prefill",
      "12",
    ];
    const history = at("history/engine.jsonl");
    const { code, out, err } = await bench(...quick, ...args, "--history", history, "--json");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const report = JSON.parse(out) as Report;
    expect(report).toMatchObject({ bench: "engine", threads: 1 });
    expect(report.readBytesPerSecond).toBeGreaterThan(1e8);
    const cases = report.rows.map(({ quantise, block, mode, batch, tokens }) => {
      return [quantise, block, mode, batch, tokens].join(" ");
    });
    expect(cases).toEqual(
      ["none ", "q4 32", "q4 128"].flatMap((engine) => [
        `${engine} decode 1 1`,
        `${engine} decode 3 1`,
        `${engine} prefill 1 12`,
      ]),
    );
    const model = await openModel(join(root, "kernels/models/eaglet"));
    model.close();
    for (const row of report.rows) {
      const variant = row.block === null ? null : ({ quantise: "q4", block: row.block } as const);
      const { weightsBytes } = memoryNeeds(model.config, variant, 3);
      const tokensOfStep = row.batch * row.tokens;
      expect(row).toMatchObject({ backend: "onnx", shape: "eaglet" });
      expect(row.bytesPerToken * tokensOfStep).toBeCloseTo(weightsBytes, 3);
      expect(row.tokensPerSecond * row.p10Ms).toBeCloseTo(1000 * tokensOfStep, 3);
      const bandwidth = row.tokensPerSecond * row.bytesPerToken;
      expect(row.bandwidthBytesPerSecond / bandwidth).toBeCloseTo(1, 6);
      expect(row.share).toBeCloseTo(bandwidth / report.readBytesPerSecond, 6);
      expect(row.p10Ms).toBeLessThanOrEqual(row.medianMs);
      expect(row.residentBytes).toBeGreaterThan(10e6);
      expect(row.samples).toBeGreaterThan(0);
    }
    expect(report.engines.map(({ numericClass }) => numericClass.split("/").at(-1))).toEqual([
      "none",
      "q4",
      "q4-b128",
    ]);
    await bench(...quick, "--quantise", "none", "--prefill", "0", "--history", history, "--json");
    const lines = readFileSync(history, "utf8").trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as Report).rows.length)).toEqual([9, 2]);
    expect(JSON.parse(lines[0] ?? "")).toEqual(report);
  },
  patienceMs,
);

test(
  "a table and a drawing for people; two engines beside each other",
  async () => {
    const args = ["--backend", "onnx,reference", "--quantise", "q8", "--batch", "1,2"];
    const { code, out } = await bench(...quick, ...args, "--prefill", "4");
    expect(code).toBe(0);
    expect(out).toMatch(/^eaglet onnx q8 b32 +decode +1 .* \d+ % .* MiB$/m);
    expect(out).toMatch(/^eaglet reference q8 b32 +prefill 4 +1 /m);
    expect(out).toMatch(/^memory is read at \d.* GB\/s by 1 threads$/m);
    const svg = readFileSync(at("bench-engine.svg"), "utf8");
    expect(out).toContain(at("bench-engine.svg"));
    // Two bars of one stream, and for each engine one of company and one of a prompt.
    expect(svg.match(/<rect [^>]*fill="#2563eb"/g)).toHaveLength(6);
    expect(svg).toContain("prompt of 4");
  },
  patienceMs,
);

describe("what goes wrong", () => {
  test.each([
    [["--shape", "14B"], "--shape"],
    [["--backend", "onnx,gpu"], "--backend"],
    [["--quantise", "q5"], "--quantise"],
    [["--block", "64"], "--block"],
    [["--batch", "0"], "--batch"],
    [["--prefill", "-1"], "--prefill"],
  ])("bad usage ends with 2: %j", async (args, named) => {
    const outcome = await bench(...args);
    expect(errorLines(outcome)).toEqual([expect.stringMatching(/^USAGE: .{20,}/)]);
    expect(outcome).toMatchObject({ code: 2, out: "" });
    expect(outcome.err).toContain(named);
  });

  test("a plot that cannot be written", async () => {
    writeFileSync(at("file"), "");
    const args = ["--quantise", "none", "--prefill", "0", "--batch", "1"];
    const outcome = await bench(...quick, ...args, "--plot", join(at("file"), "plot.svg"));
    expect(errorLines(outcome)).toEqual([expect.stringMatching(/^FOLDER_UNWRITABLE: .{20,}/)]);
    expect(outcome.code).toBe(1);
  });

  test("Ctrl-C ends it at once, and nothing is left", async () => {
    const endless = ["--rounds", "1000", "--plot", at("early.svg")];
    const child = spawn(process.execPath, ["eyrie.mjs", "bench", "engine", ...endless], {
      cwd: root,
      env: { PATH: process.env["PATH"], EYRIE_HOME: directory, TMPDIR: directory },
    });
    const temporary = (): string[] =>
      readdirSync(directory).filter((name) => /^eyrie-bench-.{6}$/.test(name));
    await expect.poll(temporary, { timeout: 20_000 }).toHaveLength(1);
    const code = new Promise((done) => child.once("close", done));
    child.kill("SIGINT");
    expect(await code).toBe(130);
    expect(temporary()).toEqual([]);
    expect(readdirSync(directory)).not.toContain("early.svg");
  });
});

test("the shapes are those of the World v2 models", () => {
  const names = { "0.4B": 462, "1.5B": 1577, "3B": 3063, "7B": 7518 };
  for (const [name, millions] of Object.entries(names)) {
    const shape = worldShapes[name as keyof typeof worldShapes];
    const width = shape.heads * shape.headSize;
    const weights = shape.layers * (6 * width + 2 * shape.ffnWidth) * width + 2 * 65_536 * width;
    expect(Math.abs(weights / 1e6 / millions - 1), name).toBeLessThan(0.01);
  }
});

test("bars have a length in proportion, and words that are escaped", () => {
  const bar = { name: "<a>", told: "1 & 2", colour: "#123456" };
  const svg = barsSvg({
    title: "T",
    parts: [
      {
        title: "P",
        limit: 4,
        bars: [
          { ...bar, value: 1 },
          { ...bar, value: 2 },
        ],
      },
    ],
  });
  const lengths = [...svg.matchAll(/width="([\d.]+)" height="18"/g)].map(([, text]) =>
    Number(text),
  );
  expect(lengths[1]! / lengths[0]!).toBeCloseTo(2, 2);
  expect(svg).toContain("&lt;a>");
  expect(svg).toContain("1 &amp; 2");
});
