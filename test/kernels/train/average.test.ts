/** The mean of models, in Python: a model's mean with itself is that model; what has none is refused. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

const python = "/usr/bin/python3";
const room = fileURLToPath(new URL("../../../kernels/train/", import.meta.url));
const shipped = fileURLToPath(new URL("../../../kernels/models/eaglet/", import.meta.url));
const out = mkdtempSync(join(tmpdir(), "eyrie-average-"));
const hasTorch =
  existsSync(python) && spawnSync(python, ["-c", "import torch, numpy"]).status === 0;

afterAll(() => rmSync(out, { recursive: true }));

function average(...parts: readonly string[]): { code: number | null; err: string } {
  const of = parts.flatMap((part) => ["--of", part]);
  const words = ["average.py", ...of, "--recipe", "eaglet.json", "--out", out];
  const { status, stderr } = spawnSync(python, words, { cwd: room, encoding: "utf8" });
  return { code: status, err: stderr };
}

describe.skipIf(!hasTorch)("average.py", () => {
  test("makes of one model twice the same model", () => {
    expect(average(`${shipped}:1`, `${shipped}:1`)).toEqual({ code: 0, err: "" });
    for (const file of ["weights.safetensors", "vocab.txt", "model.json"]) {
      expect(readFileSync(join(out, file)).equals(readFileSync(join(shipped, file)))).toBe(true);
    }
  }, 60_000);

  test("refuses a part without a share", () => {
    expect(average(shipped)).toMatchObject({
      code: 2,
      err: expect.stringContaining("a model directory and its share"),
    });
  }, 60_000);
});
