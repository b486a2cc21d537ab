/** `eyrie bench platform`: what it prints, keeps and leaves behind. Its figures are no test's business. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { WorkloadFigures } from "#apps/cli/bench/platform.ts";
import { barsSvg } from "#apps/cli/bench/plot.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

const root = resolve(import.meta.dirname, "../../..");
/** Six processes start and stop; a busy machine takes its time. */
const patienceMs = 180_000;
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-bench-platform-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const at = (name: string): string => join(directory, name);
/** Compiled code, which processes of tests share. */
const kept = "eyrie-compile-cache";
const quick = ["--workload", "L1", "--minutes", "0.03"];

function bench(...args: string[]): Promise<Outcome> {
  const environment = { EYRIE_HOME: directory, TMPDIR: directory };
  return eyrie(["bench", "platform", ...args], { environment });
}

test(
  "figures as JSON, a line of history and a drawing, and nothing else is left",
  async () => {
    const files = ["--history", at("h/platform.jsonl"), "--plot", at("platform.svg")];
    const { code, out, err } = await bench(...quick, ...files, "--json");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const report = JSON.parse(out) as { bench: string; runs: WorkloadFigures[] };
    expect(report).toMatchObject({ bench: "platform", runs: [{ workload: "L1", seed: 1 }] });
    const [level] = report.runs[0]?.levels ?? [];
    expect(level).toMatchObject({ name: "steady", wrong: 0 });
    expect(level?.answered).toBe(level?.asked);
    const history = readFileSync(at("h/platform.jsonl"), "utf8");
    expect(history.split("\n").map((line) => line !== "" && JSON.parse(line))).toEqual([
      report,
      false,
    ]);
    const svg = readFileSync(at("platform.svg"), "utf8");
    expect(svg).toContain("L1 steady");
    expect(readdirSync(directory).filter((name) => name !== kept)).toEqual(["h", "platform.svg"]);
  },
  patienceMs,
);

test(
  "Ctrl-C ends it, and nothing is left",
  async () => {
    const args = ["--workload", "L1", "--minutes", "9", "--plot", at("early.svg")];
    const child = spawn(process.execPath, ["eyrie.mjs", "bench", "platform", ...args], {
      cwd: root,
      env: { PATH: process.env["PATH"], EYRIE_HOME: directory, TMPDIR: directory },
    });
    const code = new Promise((done) => child.once("close", done));
    const temporary = (): string[] =>
      readdirSync(directory).filter((name) => name.startsWith("eyrie-") && name !== kept);
    // Two servers and a home.
    await expect.poll(() => temporary().length, { timeout: 60_000 }).toBe(3);
    child.kill("SIGINT");
    expect(await code).toBe(130);
    expect(temporary()).toEqual([]);
    expect(readdirSync(directory)).not.toContain("early.svg");
  },
  patienceMs,
);

describe("bad usage ends with 2", () => {
  test.each([
    [[], "--workload"],
    [["--workload", "L7"], "--workload"],
    [["--workload", "L1", "--minutes", "0"], "--minutes"],
    [["--workload", "L1", "--runs", "0"], "--runs"],
  ])("%j", async (args, named) => {
    const outcome = await bench(...args);
    expect(errorLines(outcome)).toEqual([expect.stringMatching(/^USAGE: .{20,}/)]);
    expect(outcome).toMatchObject({ code: 2, out: "" });
    expect(outcome.err).toContain(named);
  });
});

test("a bar's mark stands where its value would end, and the words behind both", () => {
  const bar = { name: "a", told: "told", colour: "#123456", value: 2, mark: 4 };
  const svg = barsSvg({ title: "T", parts: [{ title: "P", marks: "best", bars: [bar] }] });
  const [, left = "", width = ""] = /<rect x="(\d+)" [^>]*width="([\d.]+)" height="18"/.exec(svg)!;
  const ticks = [...svg.matchAll(/<path d="M([\d.]+) /g)].map(([, x]) => Number(x));
  const end = Number(left) + 2 * Number(width);
  expect(ticks.at(-1)).toBeCloseTo(end, 0);
  const words = /<text x="([\d.]+)"[^>]*>told</.exec(svg)!;
  expect(Number(words[1])).toBeGreaterThan(end);
  expect(svg).toContain("best");
});
