/** Each line that holds a promise is missed when it is broken: within 1,000 seeds, mostly the first ten. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { breaks, broken, textOf } from "./breaks.ts";

const root = join(import.meta.dirname, "..", "..");

test.each(breaks)("without its $name check the platform fails", { timeout: 600_000 }, (one) => {
  // Says so when the line is no longer there.
  expect(broken(one, textOf(one))).not.toBe(textOf(one));
  const args = ["--seeds", "1000", "--turns", "60", "--until-failure", "--break", one.name];
  const program = join(root, "test", "sim", "main.ts");
  const { status, stderr } = spawnSync("node", [program, ...args], { cwd: root, encoding: "utf8" });
  expect(status, stderr).toBe(1);
  expect(stderr).toContain(`repeat: npm run sim -- --seeds 1 --seed `);
  // It was the platform that failed, not the simulation.
  expect(stderr).not.toContain("the simulation itself ended");
});

test("a line that is not there cannot be broken", () => {
  const nowhere = { name: "x", file: "package.json", line: "no such line", instead: "" };
  expect(() => broken(nowhere, "")).toThrow("0 times");
});
