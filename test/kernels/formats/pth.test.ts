/** The reader of .pth files: what torch writes is read, everything hostile is refused by name. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bufferSource } from "#kernels/model/formats/byte-source.ts";
import { type PthDirectory, readPth } from "#kernels/model/formats/pth.ts";
import { readPthInChild } from "#kernels/model/formats/pth-process.ts";
import { FormatRefusal } from "#kernels/model/formats/refusal.ts";
import { hostileFiles } from "./hostile.ts";
import { tryFileMutants, tryPickleMutants, tryPthMutants } from "./mutants.ts";
import { addTensors, begin, stateDict, type Tensor, torchFile } from "./torch-file.ts";

const corpus = resolve(import.meta.dirname, "../../corpus/pth");
const python = "/usr/bin/python3";
const hasTorch = spawnSync(python, ["-c", "import torch"]).status === 0;
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-pth-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const w: Tensor = { name: "w", dtype: "F32", shape: [2, 3], data: Buffer.alloc(24, 1) };
const b: Tensor = { name: "b", dtype: "BF16", shape: [1, 1, 4], data: Buffer.alloc(8, 2) };

function bytesOf(file: Buffer, name: string, { tensors }: PthDirectory): Buffer {
  const { offset, bytes } = tensors.find((tensor) => tensor.name === name)!;
  return file.subarray(offset, offset + bytes);
}

async function inChild(path: string, msMax?: number): Promise<PthDirectory> {
  const descriptor = openSync(path, "r");
  try {
    return await readPthInChild(descriptor, msMax);
  } finally {
    closeSync(descriptor);
  }
}

function refusalOf(bytes: Buffer): string {
  try {
    readPth(bufferSource(bytes));
  } catch (error) {
    if (error instanceof FormatRefusal) return error.reason;
    throw error;
  }
  return "accepted";
}

function many(opcodes: number[], times: number): Buffer {
  const body = Buffer.concat(Array.from({ length: times }, () => Buffer.from(opcodes)));
  const pickle = Buffer.concat([Buffer.from([0x80, 2]), body, Buffer.from([0x2e])]);
  return torchFile([w], pickle);
}

describe("what torch writes is read", () => {
  test("names, types, shapes and the very bytes", () => {
    const file = torchFile([w, b]);
    const found = readPth(bufferSource(file));
    expect(found.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual([
      { name: "w", dtype: "F32", shape: [2, 3] },
      { name: "b", dtype: "BF16", shape: [1, 1, 4] },
    ]);
    expect(bytesOf(file, "w", found)).toEqual(w.data);
    expect(bytesOf(file, "b", found)).toEqual(b.data);
  });

  test("views of one storage", () => {
    const data = Buffer.from([...Array(24).keys()]);
    const whole: Tensor = { ...w, data };
    const row: Tensor = { name: "row", dtype: "F32", shape: [3], data, offset: 3, key: "0" };
    const file = torchFile([whole, row]);
    const found = readPth(bufferSource(file));
    expect(bytesOf(file, "row", found)).toEqual(data.subarray(12));
  });

  test("a Lightning checkpoint: weights under state_dict, other things around them", () => {
    const pickle = begin()
      .raw(0x7d)
      .text("epoch")
      .int(3)
      .raw(0x73)
      .text("state_dict")
      .orderedDict();
    addTensors(pickle, [w]).raw(0x73);
    pickle.text("loss").raw(0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0x73, 0x2e);
    const found = readPth(bufferSource(torchFile([w], pickle.bytes())));
    expect(found.tensors.map(({ name }) => name)).toEqual(["w"]);
    expect(found.others).toEqual([]);
  });

  test("keys that are no tensors are named", () => {
    const pickle = addTensors(begin().orderedDict(), [w]).text("_strategy").text("cpu fp32");
    const file = torchFile([w], pickle.raw(0x73, 0x2e).bytes());
    expect(readPth(bufferSource(file)).others).toEqual(["_strategy"]);
  });

  test("attributes of the dictionary are dropped", () => {
    const pickle = addTensors(begin().orderedDict(), [w]).raw(0x7d).text("_metadata").orderedDict();
    const file = torchFile([w], pickle.raw(0x73, 0x62, 0x2e).bytes());
    expect(readPth(bufferSource(file)).tensors).toHaveLength(1);
  });

  test.skipIf(!hasTorch)("files that torch itself saved (needs python3-torch)", async () => {
    const script = `
import torch
w = torch.arange(12.).reshape(3, 4)
torch.save({"half": w.half(), "brain": w.bfloat16(), "view": w[1:], "one": w[:, :1]}, "dict.pth")
torch.save(torch.nn.Linear(3, 2).state_dict(), "module.pth")
torch.save({"w": torch.nn.Parameter(w), "t": w.t().contiguous()}, "parameter.pth")
torch.save({"w": w.t()}, "transposed.pth")
torch.save({"w": w.long()}, "long.pth")
`;
    execFileSync(python, ["-c", script], { cwd: directory });
    const at = (name: string): string => join(directory, name);
    const found = await inChild(at("dict.pth")).catch((error: unknown) => error);
    // One column of four is not contiguous: refused by its name.
    expect(found).toMatchObject({ reason: "tensor-strides" });
    expect((found as Error).message).toContain('"one"');
    expect((await inChild(at("module.pth"))).tensors).toHaveLength(2);
    const parameter = await inChild(at("parameter.pth"));
    const numbers = bytesOf(readFileSync(at("parameter.pth")), "t", parameter);
    expect(numbers.readFloatLE(4)).toBe(4);
    await expect(inChild(at("transposed.pth"))).rejects.toMatchObject({ reason: "tensor-strides" });
    await expect(inChild(at("long.pth"))).rejects.toMatchObject({ reason: "storage-type" });
  });
});

describe("hostile files are refused by name", () => {
  test("the corpus holds what is built here", () => {
    const files = readdirSync(corpus).filter((name) => name.endsWith(".pth"));
    expect(files.map((name) => name.slice(0, -4)).sort()).toEqual([...hostileFiles.keys()].sort());
    for (const [name, bytes] of hostileFiles) {
      expect(readFileSync(join(corpus, `${name}.pth`)).equals(bytes), name).toBe(true);
    }
  });

  test.each([...hostileFiles.keys()])("%s", (name) => {
    expect(refusalOf(hostileFiles.get(name)!)).toBe(name.split(".")[0]);
  });

  test("more opcodes than weights need", () => {
    expect(refusalOf(many([0x4e], 250_000))).toBe("pickle-too-many-values");
    expect(refusalOf(many([0x28], 250_000))).toBe("pickle-too-many-values");
    expect(refusalOf(many([0x5d, 0x71, 1, 0x68, 1], 150_000))).toBe("pickle-too-many-values");
    expect(refusalOf(many([0x4e], 5_000_000))).toBe("pickle-too-large");
  });
});

describe("the child process", () => {
  test("answers as the reader does", async () => {
    const path = join(directory, "good.pth");
    const file = torchFile([w, b]);
    writeFileSync(path, file);
    expect(await inChild(path)).toEqual(readPth(bufferSource(file)));
  });

  test.each(["pickle-global.os-system", "not-a-state-dict.billion-laughs", "zip-end.cut"])(
    "refuses %s",
    async (name) => {
      const reason = name.split(".")[0];
      await expect(inChild(join(corpus, `${name}.pth`))).rejects.toMatchObject({ reason });
    },
  );

  test("too slow a machine accuses nobody", async () => {
    const path = join(directory, "slowly.pth");
    writeFileSync(path, torchFile([w]));
    const refused = { reason: "reader-time", unsafe: false };
    await expect(inChild(path, 0)).rejects.toMatchObject(refused);
    expect(new FormatRefusal("reader-failed", "").unsafe).toBe(false);
  });

  test("a file that is no regular one does not hang it", async () => {
    await expect(inChild("/dev/zero")).rejects.toBeInstanceOf(FormatRefusal);
  });

  test("may read nothing but its own code, and write and start nothing", () => {
    // The same flags as in pth-process.ts; a page that tries what the reader never does.
    const probe = join(directory, "probe.mjs");
    writeFileSync(
      probe,
      `import fs from "node:fs"; import child from "node:child_process";
       const tries = [() => fs.readFileSync("/etc/hostname"), () => fs.writeFileSync("x", ""),
         () => child.execFileSync("id")];
       const outcome = (one) => { try { one(); return "done"; } catch (e) { return e.code; } };
       console.log(tries.map(outcome).join());`,
    );
    const flags = ["--permission", `--allow-fs-read=${probe}`];
    const out = execFileSync(process.execPath, [...flags, probe], { env: {} }).toString();
    expect(out.trim()).toBe(Array(3).fill("ERR_ACCESS_DENIED").join());
  });
});

describe("mutants: refused by name, or read as what they are", () => {
  const numRuns = 2000;

  test("of whole files", () => {
    const { accepted, refused } = tryPthMutants(numRuns, 1);
    expect(accepted).toBeGreaterThan(20);
    expect(refused.size).toBeGreaterThan(15);
  });

  test("of the pickle", () => {
    const { accepted, refused } = tryPickleMutants(numRuns, 2);
    expect(accepted).toBeGreaterThan(20);
    expect(refused.size).toBeGreaterThan(10);
  });

  test("of safetensors headers and of indexes", async () => {
    for (const reader of ["safetensors", "index"] as const) {
      const { accepted, refused } = await tryFileMutants(directory, reader, { numRuns, seed: 3 });
      expect(accepted + [...refused.values()].reduce((sum, one) => sum + one)).toBe(numRuns);
      expect(refused.has("MODEL_BROKEN")).toBe(true);
    }
  });

  test("what the mutants start from is good", () => {
    expect(refusalOf(torchFile([w], stateDict([w])))).toBe("accepted");
  });
});
