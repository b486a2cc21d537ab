/** What the onnx backend says when a model or onnxruntime itself is not usable. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { GraphSession } from "#kernels/backends/onnx/session.ts";
import { openModel } from "#kernels/model/model.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";

const shape = { layers: 1, heads: 2, headSize: 8, ffnWidth: 32, vocabSize: 64 };
const limits = { slots: 1, threads: 1 };
const root = mkdtempSync(join(tmpdir(), "eyrie-onnx-open-"));
afterAll(() => rmSync(root, { recursive: true }));

function freshModel(name: string): string {
  const directory = join(root, name);
  writeRandomModel(directory, shape, { seed: 1 });
  return directory;
}

test("an empty directory is no model", async () => {
  await expect(openOnnx(root, limits)).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
});

test("weights cut short are refused", async () => {
  const directory = freshModel("truncated");
  truncateSync(join(directory, "weights.safetensors"), 4000);
  await expect(openOnnx(directory, limits)).rejects.toMatchObject({ code: "MODEL_BROKEN" });
});

test("weights cut short after their header was read are refused by onnxruntime", async () => {
  const model = await openModel(freshModel("vanishing"));
  truncateSync(model.weightsPath, 4000);
  await expect(GraphSession.open(model, 1)).rejects.toMatchObject({ code: "MODEL_BROKEN" });
  model.close();
});

test("a machine without an onnxruntime binary is told so", async () => {
  const directory = freshModel("unavailable");
  const script = `
    Object.defineProperty(process, "arch", { value: "none" });
    const { openOnnx } = await import("#kernels/backends/onnx/onnx.ts");
    const error = await openOnnx(${JSON.stringify(directory)}, { slots: 1, threads: 1 }).catch((e) => e);
    console.log(JSON.stringify({ code: error.code, backend: error.values?.backend }));
  `;
  const args = ["--input-type=module", "--eval", script];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  expect(JSON.parse(stdout)).toEqual({ code: "BACKEND_UNAVAILABLE", backend: "onnx" });
});

test("bad plans are refused whole and a second step at a time too", async () => {
  const backend = await openOnnx(freshModel("plans"), limits);
  const row = { slot: 0, tokens: [1], want: "last" } as const;
  await expect(backend.step({ rows: [{ ...row, slot: 1 }] })).rejects.toBeInstanceOf(RangeError);
  const running = backend.step({ rows: [row] });
  await expect(backend.step({ rows: [row] })).rejects.toThrow(/stepping/);
  expect(() => backend.readState(0)).toThrow(/stepping/);
  await running;
  expect(await backend.step({ rows: [] })).toEqual([]);
  backend.close();
  await expect(backend.step({ rows: [row] })).rejects.toThrow(/closed/);
});
