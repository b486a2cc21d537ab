/**
 * Reads the directory of a .pth file in a child process that can do nothing else.
 *
 * The child gets the open file as descriptor 3, so both look at the same bytes, a heap of
 * `heapMiB`, `readMsMax` of time, and Node's permission model: it may load its own four pages of
 * code and no more. Its answer is checked again here: this process seeks where the answer says.
 */
import { spawn } from "node:child_process";
import { fstatSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { bytesPerElement, rankMax, tensorsMax } from "../safetensors-header.ts";
import type { PthDirectory } from "./pth.ts";
import { FormatRefusal, isRefusalReason } from "./refusal.ts";

/** Node itself idles at 5 MiB of heap; a 7B directory takes 3 more. */
const heapMiB = 64;
const readMsMax = 60_000;
const answerBytesMax = 8 << 20;

const root = resolve(import.meta.dirname, "../../..");
const program = resolve(import.meta.dirname, "pth-child.ts");

const count = z.int().min(0);
const directorySchema = z.strictObject({
  tensors: z
    .array(
      z.strictObject({
        name: z.string(),
        dtype: z.enum(["F16", "BF16", "F32"]),
        shape: z.array(count).max(rankMax),
        offset: count,
        bytes: count,
      }),
    )
    .max(tensorsMax),
  others: z.array(z.string()),
});
const refusalSchema = z.strictObject({
  refused: z.string().refine(isRefusalReason),
  detail: z.string(),
});

export async function readPthInChild(descriptor: number, msMax = readMsMax): Promise<PthDirectory> {
  const answer: unknown = parse(await runChild(descriptor, msMax));
  const refusal = refusalSchema.safeParse(answer);
  if (refusal.success) throw new FormatRefusal(refusal.data.refused, refusal.data.detail);
  const directory = directorySchema.safeParse(answer);
  const { size } = fstatSync(descriptor);
  if (!directory.success || !directory.data.tensors.every((tensor) => fits(tensor, size))) {
    throw new FormatRefusal("reader-failed", "its answer is not a directory of this file");
  }
  return directory.data;
}

function fits(tensor: PthDirectory["tensors"][number], fileBytes: number): boolean {
  const { dtype, shape, offset, bytes } = tensor;
  const needed = shape.reduce((product, extent) => product * extent, bytesPerElement(dtype));
  return needed === bytes && offset + bytes <= fileBytes;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new FormatRefusal("reader-failed", "it ended without an answer");
  }
}

/** The child's standard output. */
async function runChild(descriptor: number, msMax: number): Promise<string> {
  const pages = ["kernels/model/formats/*", "kernels/model/safetensors-header.ts", "package.json"];
  const permissions = pages.map((path) => `--allow-fs-read=${resolve(root, path)}`);
  const limits = [`--max-old-space-size=${heapMiB}`, "--max-semi-space-size=4", "--permission"];
  const child = spawn(process.execPath, [...limits, ...permissions, program], {
    cwd: root,
    env: {},
    stdio: ["ignore", "pipe", "ignore", descriptor],
  });
  let answer = "";
  child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
    answer += chunk;
    if (answer.length > answerBytesMax) child.kill("SIGKILL");
  });
  let late = false;
  const patience = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, msMax);
  try {
    const code = await new Promise<number | null>((done, fail) => {
      child.once("error", fail);
      child.once("close", done);
    });
    if (late) {
      const tooSlow = `not read in ${msMax / 1000} s; this machine was too slow; try again`;
      throw new FormatRefusal("reader-time", tooSlow);
    }
    if (code !== 0) {
      throw new FormatRefusal("reader-failed", "it ran out of memory or was killed; try again");
    }
    return answer;
  } finally {
    clearTimeout(patience);
  }
}
