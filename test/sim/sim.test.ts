/** The simulation as a program: many seeds hold, a seed repeats itself, and its words are of use. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const program = join(root, "test", "sim", "main.ts");

function sim(...args: readonly string[]): { code: number | null; out: string; err: string } {
  const run = spawnSync("node", [program, ...args], { cwd: root, encoding: "utf8" });
  return { code: run.status, out: run.stdout, err: run.stderr };
}

/** What seed 7 did. Leases and operations have random parts that nothing depends on. */
function story(): string {
  const { out } = sim("--seeds", "1", "--seed", "7", "--turns", "40", "--trace");
  return out.replaceAll(/[0-9a-f]{24,}/g, "…");
}

test(
  "300 seeds: nothing is lost, doubled, reordered or crossed",
  { timeout: 600_000 },
  ({ task }) => {
    const { code, err, out } = sim("--seeds", "300", "--turns", "30", "--json");
    expect(code, err).toBe(0);
    const figures = JSON.parse(out.trim().split("\n").at(-1) ?? "") as Record<string, number>;
    expect(figures).toMatchObject({ seeds: 300, lost: 0, duplicated: 0, reordered: 0, crossed: 0 });
    expect(figures["turns"]).toBeGreaterThan(7_500);
    Object.assign(task.meta, { figures });
  },
);

test("a seed repeats itself to the line", { timeout: 300_000 }, () => {
  const first = story();
  expect(first.length).toBeGreaterThan(1_000);
  expect(story()).toBe(first);
});

test("bad usage is refused", () => {
  expect(sim("--seeds", "none").code).toBe(2);
  expect(sim("--break", "everything").code).toBe(2);
});
