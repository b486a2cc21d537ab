/** `convertModel`: the same weights give the same directory from any form, whole or not at all. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  ftruncateSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { execFileSync, spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ModelError } from "#kernels/errors.ts";
import { convertModel, type ConvertOptions } from "#kernels/model/convert.ts";
import { openModel } from "#kernels/model/model.ts";
import {
  config,
  renamed,
  toHuggingFace,
  toWebRwkv,
  weights,
  writePth,
  writeShards,
  writeTwin,
} from "./models.ts";
import { addTensors, begin, type Tensor, torchFile } from "./torch-file.ts";

const eaglet = resolve(import.meta.dirname, "../../../kernels/models/eaglet");
const python = "/usr/bin/python3";
const hasTorch = spawnSync(python, ["-c", "import torch"]).status === 0;
let directory: string;
let expected: Buffer;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-convert-"));
  expected = await weightsOf(writeTwin(join(directory, "twin.safetensors"), weights()));
});
afterAll(() => rmSync(directory, { recursive: true }));

let made = 0;
const fresh = (): string => join(directory, `out-${made++}`);

async function weightsOf(input: string): Promise<Buffer> {
  const out = fresh();
  await convertModel(input, out, {});
  return readFileSync(join(out, "weights.safetensors"));
}

/** Code and the name that the reason begins with; and nothing was left behind. */
async function refusal(
  input: string,
  options: ConvertOptions = {},
  out = fresh(),
): Promise<string> {
  const before = readdirSync(directory);
  try {
    await convertModel(input, out, options);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    expect(readdirSync(directory)).toEqual(before);
    return `${error.code} ${String(error.values["reason"] ?? "").split(":")[0]}`.trim();
  }
  return "converted";
}

const pth = (tensors: readonly Tensor[]): string =>
  writePth(join(directory, `in-${made++}.pth`), tensors);
const folder = (fill: (at: string) => void): string => {
  const at = join(directory, `in-${made++}`);
  mkdirSync(at);
  fill(at);
  return at;
};

describe("the same bytes from every form", () => {
  test.each<[string, () => string]>([
    [".pth", () => pth(weights())],
    [".pth in another order", () => pth(weights().toReversed())],
    ["pytorch_model.bin", () => pth(renamed(weights(), toHuggingFace))],
    [
      "Hugging Face model.safetensors in its directory",
      () =>
        folder((at) => writeTwin(join(at, "model.safetensors"), renamed(weights(), toHuggingFace))),
    ],
    [
      "shards of safetensors",
      () => folder((at) => writeShards(at, "model.safetensors", renamed(weights(), toHuggingFace))),
    ],
    [
      "shards of pytorch_model.bin",
      () => folder((at) => writeShards(at, "pytorch_model.bin", weights())),
    ],
    ["web-rwkv .st", () => writeTwin(join(directory, "model.st"), renamed(weights(), toWebRwkv))],
    ["a file with a name that lies", () => writePth(join(directory, "v7.safetensors"), weights())],
  ])("%s", async (_, input) => {
    expect((await weightsOf(input())).equals(expected)).toBe(true);
  });

  test("types stay as they are, mixed ones too; a second conversion changes nothing", async () => {
    const mixed = weights((name) => (name.includes("time_") ? "F32" : "F16"));
    const first = fresh();
    await convertModel(pth(mixed), first, {});
    const model = await openModel(first);
    expect(model.location("blocks.0.att.time_decay").dtype).toBe("F32");
    expect(model.location("emb.weight").dtype).toBe("F16");
    model.close();
    const again = await weightsOf(first);
    expect(again.equals(readFileSync(join(first, "weights.safetensors")))).toBe(true);
    const twin = await weightsOf(writeTwin(join(directory, "mixed.safetensors"), mixed));
    expect(twin.equals(again)).toBe(true);
  });

  test("every number arrives", async () => {
    const out = fresh();
    await convertModel(pth(weights(() => "F32")), out, {});
    const model = await openModel(out);
    for (const { name, data } of weights(() => "F32")) {
      expect(Buffer.from(model.tensor(name).buffer).equals(data), name).toBe(true);
    }
    model.close();
  });

  test.skipIf(!hasTorch)("Eaglet through torch.save (needs python3-torch)", async () => {
    const script = `
import collections, json, struct, torch
f = open("${eaglet}/weights.safetensors", "rb")
n = struct.unpack("<Q", f.read(8))[0]
header = json.loads(f.read(n))
weights = collections.OrderedDict()
for name, entry in header.items():
    if name == "__metadata__": continue
    begin, end = entry["data_offsets"]
    f.seek(8 + n + begin)
    assert entry["dtype"] == "F16"
    t = torch.frombuffer(bytearray(f.read(end - begin)), dtype=torch.float16)
    t = t.reshape(entry["shape"])
    weights[name] = t.reshape(1, 1, -1) if ".time_mix" in name else t
torch.save(weights, "eaglet.pth")
`;
    execFileSync(python, ["-c", script], { cwd: directory });
    const ours = await weightsOf(join(eaglet, "weights.safetensors"));
    expect((await weightsOf(join(directory, "eaglet.pth"))).equals(ours)).toBe(true);
  });
});

const only = (keep: (name: string) => boolean): Tensor[] =>
  weights().filter(({ name }) => keep(name));
const vector = (name: string): Tensor => ({
  name,
  dtype: "BF16",
  shape: [4],
  data: Buffer.alloc(8),
});

describe("what is not a whole v5.2 model is refused by its own name", () => {
  test.each<[string, () => Tensor[], string]>([
    ["v4", () => only((name) => !/ln_x|gate|time_mix_g/.test(name)), "MODEL_VERSION RWKV-v4"],
    ["v5.0", () => only((name) => !/gate|time_mix_g/.test(name)), "MODEL_VERSION RWKV-v5.0"],
    [
      "v5.1",
      () =>
        weights().map((tensor) =>
          tensor.name.endsWith("time_decay")
            ? { ...tensor, shape: [2], data: Buffer.alloc(4) }
            : tensor,
        ),
      "MODEL_VERSION RWKV-v5.1",
    ],
    ["v6", () => [...weights(), vector("blocks.0.att.time_maa_x")], "MODEL_VERSION RWKV-v6"],
    ["v7", () => [...weights(), vector("blocks.0.att.r_k")], "MODEL_VERSION RWKV-v7"],
    ["LoRA", () => [vector("blocks.0.att.key.lora_A")], "MODEL_KIND lora"],
    ["PiSSA", () => [vector("model.blocks.0.att.key.init_lora_A")], "MODEL_KIND lora"],
    ["a tuned state", () => [vector("blocks.0.att.time_state")], "MODEL_KIND tuned-state"],
    [
      "a merged state",
      () => [...weights(), vector("blocks.0.att.time_state")],
      "MODEL_KIND merged-state",
    ],
    [
      "quantised by pip",
      () => [...weights(), vector("blocks.0.att.key.weight_mx")],
      "MODEL_KIND pip-converted",
    ],
    [
      "one tensor short",
      () => only((name) => name !== "ln_out.bias"),
      "MODEL_BROKEN missing-tensor",
    ],
    ["one too many", () => [...weights(), vector("extra")], "MODEL_BROKEN unknown-tensor"],
    ["no RWKV", () => [vector("transformer.wte.weight")], "MODEL_BROKEN not-rwkv"],
    [
      "another shape",
      () => weights().map((t) => (t.name === "ln_out.bias" ? { ...t, shape: [4, 4] } : t)),
      "MODEL_BROKEN shape",
    ],
    [
      "two names for one tensor",
      () => [
        ...renamed(weights(), toHuggingFace),
        { ...vector("rwkv.ln_out.bias"), name: "ln_out.bias" },
      ],
      "MODEL_BROKEN duplicate-tensor",
    ],
  ])("%s", async (_, tensors, reason) => {
    expect(await refusal(pth(tensors()))).toContain(reason);
  });

  test("the v6 of web-rwkv, where time_maa is called time_mix", async () => {
    const tensors = [...renamed(weights(), toWebRwkv), vector("blocks.0.att.time_decay_w1")];
    const input = writeTwin(join(directory, "v6.st"), tensors);
    expect(await refusal(input)).toContain("MODEL_VERSION RWKV-v6");
  });

  test("what the rwkv pip package rewrote", async () => {
    const pickle = addTensors(begin().orderedDict(), weights()).text("_strategy").text("cpu fp32");
    const path = join(directory, "pip.pth");
    writeFileSync(path, torchFile(weights(), pickle.raw(0x73, 0x2e).bytes()));
    expect(await refusal(path)).toBe("MODEL_KIND pip-converted");
  });

  test.each([
    [Buffer.from([0x80, 2, 0x8a, 0x0a]), "MODEL_KIND old-pickle"],
    [Buffer.from("version https://git-lfs.github.com/spec/v1\n"), "MODEL_KIND lfs-pointer"],
    [Buffer.from("<!DOCTYPE html><html>"), "MODEL_KIND web-page"],
    [Buffer.from("GGUF\x03\x00\x00\x00"), "MODEL_KIND ggml"],
    [Buffer.from([0x1f, 0x8b, 8, 0]), "MODEL_KIND archive"],
    [Buffer.from("\x08\x07\x12\x07pytorch"), "MODEL_KIND onnx"],
    [Buffer.from("\x93NUMPY\x01\x00v\x00", "latin1"), "MODEL_KIND unknown"],
    [Buffer.from("some text, no weights"), "MODEL_KIND unknown"],
    [Buffer.from("PK\x03\x04"), "MODEL_BROKEN zip-truncated"],
    [Buffer.from('{"weight_map": {"a": "../a"}}'), "MODEL_BROKEN index"],
    [Buffer.from('{"weight_map": {"a": "gone.bin"}}'), "MODEL_NOT_FOUND no such file"],
    [Buffer.alloc(0), "MODEL_BROKEN file-too-short"],
  ])("%s", async (start, reason) => {
    const path = join(directory, `start-${made++}`);
    writeFileSync(path, start);
    expect(await refusal(path)).toBe(reason);
  });

  test("a hostile pickle", async () => {
    const corpus = resolve(import.meta.dirname, "../../corpus/pth");
    const path = join(corpus, "pickle-global.os-system.pth");
    expect(await refusal(path)).toBe("MODEL_UNSAFE pickle-global");
  });

  test("nothing there, and nothing of use in it", async () => {
    expect(await refusal(join(directory, "nowhere.pth"))).toBe("MODEL_NOT_FOUND no such file");
    expect(await refusal(folder(() => {}))).toContain("MODEL_NOT_FOUND");
  });

  test("shards that do not agree with their index", async () => {
    const input = folder((at) => {
      writeShards(at, "model.safetensors", weights());
      const index = join(at, "model.safetensors.index.json");
      const text = readFileSync(index, "utf8");
      writeFileSync(index, text.replace(/("emb.weight":"[^"]*)00001/, "$100002"));
    });
    expect(await refusal(input)).toBe("MODEL_BROKEN index");
  });
});

describe("the directory", () => {
  test("says what it is; a vocabulary and its absence are written down", async () => {
    const input = writePth(join(directory, "RWKV-5-Small.pth"), weights());
    const bytes = Buffer.from("1 'a' 1\n");
    const [without, withOne] = [fresh(), fresh()];
    await convertModel(input, without, {});
    await convertModel(input, withOne, {
      vocabulary: { path: "v", bytes, tokenIdMax: 9 },
      groupNormEps: 1e-5,
      name: "small",
    });
    const bare = await openModel(without);
    expect(bare).toMatchObject({ name: "RWKV-5-Small", vocabularyPath: null, config });
    expect(JSON.stringify(bare.description.card)).toContain("vocab.txt");
    bare.close();
    const whole = await openModel(withOne);
    expect(whole).toMatchObject({ name: "small", config: { groupNormEps: 1e-5 } });
    expect(readFileSync(whole.vocabularyPath!)).toEqual(bytes);
    whole.close();
  });

  test("one of ours keeps what it says", async () => {
    const out = fresh();
    await convertModel(eaglet, out, {});
    const [before, after] = [await openModel(eaglet), await openModel(out)];
    expect(after.description).toEqual(before.description);
    expect(readFileSync(after.vocabularyPath!)).toEqual(readFileSync(before.vocabularyPath!));
    before.close();
    after.close();
  });

  test("a vocabulary with more tokens than the model is refused", async () => {
    const vocabulary = { path: "v", bytes: Buffer.from("x"), tokenIdMax: 10 };
    expect(await refusal(pth(weights()), { vocabulary })).toContain("VOCABULARY_BROKEN");
  });

  test("is not overwritten, unless asked; other things never are", async () => {
    const input = pth(weights());
    const out = fresh();
    await convertModel(input, out, { name: "first" });
    expect(await refusal(input, {}, out)).toContain("MODEL_EXISTS");
    expect(await refusal(out, { force: true }, out)).toContain("MODEL_EXISTS");
    await convertModel(input, out, { name: "second", force: true });
    const model = await openModel(out);
    expect(model.name).toBe("second");
    model.close();
    const other = folder((at) => writeFileSync(join(at, "thesis.txt"), "mine"));
    expect(await refusal(input, { force: true }, other)).toContain("MODEL_EXISTS");
    expect(readFileSync(join(other, "thesis.txt"), "utf8")).toBe("mine");
    expect(await refusal(input, { force: true }, input)).toContain("MODEL_EXISTS");
    await convertModel(
      input,
      folder(() => {}),
      {},
    );
  });

  test("stopped at any moment, nothing is left; a rerun clears what a crash left", async () => {
    const input = pth(weights());
    for (let chunks = 0; chunks < 50; chunks += 7) {
      const stop = new AbortController();
      let left = chunks;
      const onProgress = (): void => {
        if (left-- === 0) stop.abort();
      };
      expect(await refusal(input, { signal: stop.signal, onProgress })).toBe("CONVERT_STOPPED");
    }
    const out = fresh();
    // No process has the largest id that Linux gives out.
    const staging = join(directory, `.${out.split("/").at(-1)}.converting-4194304`);
    mkdirSync(staging);
    writeFileSync(join(staging, "weights.safetensors"), "half");
    await expect(openModel(staging)).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    await convertModel(input, out, {});
    expect(existsSync(staging)).toBe(false);
  });

  test("a replacement that died halfway gives the old model back", async () => {
    const input = pth(weights());
    const out = fresh();
    const replaced = join(directory, `.${out.split("/").at(-1)}.replaced-4194304`);
    await convertModel(input, replaced, { name: "old" });
    await expect(convertModel(input, out, {})).rejects.toMatchObject({ code: "MODEL_EXISTS" });
    const model = await openModel(out);
    expect(model.name).toBe("old");
    model.close();
  });

  test("a model that came to the place meanwhile stays", async () => {
    const input = pth(weights());
    const out = fresh();
    const onProgress = (): void => {
      if (existsSync(out)) return;
      mkdirSync(out);
      writeFileSync(join(out, "model.json"), "theirs");
    };
    const outcome = convertModel(input, out, { onProgress });
    await expect(outcome).rejects.toMatchObject({ code: "MODEL_EXISTS" });
    expect(readFileSync(join(out, "model.json"), "utf8")).toBe("theirs");
    expect(readdirSync(directory).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("a place where nothing can be written", async () => {
    const file = pth(weights());
    expect(await refusal(file, {}, join(file, "below"))).toContain("FOLDER_UNWRITABLE");
  });

  test("a full disk is noticed before the first byte", async () => {
    const input = join(directory, "huge.safetensors");
    const huge = { ...config, vocabSize: 2 ** 37 };
    sparse(input, huge);
    expect(await refusal(input)).toBe("DISK_FULL");
    expect(statSync(input).blocks).toBeLessThan(1000);
  });
});

/** A safetensors file of the right shape whose numbers are holes. */
function sparse(path: string, of: typeof config): void {
  const wide = weights(() => "BF16", config).map(({ name, shape }) => {
    const big = name === "emb.weight" || name === "head.weight";
    return { name, shape: big ? [of.vocabSize, of.width] : shape };
  });
  let end = 0;
  const header = Object.fromEntries(
    wide.map(({ name, shape }) => {
      const from = end;
      end += 2 * shape.reduce((product, extent) => product * extent, 1);
      return [name, { dtype: "BF16", shape, data_offsets: [from, end] }];
    }),
  );
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const descriptor = openSync(path, "w");
  writeSync(descriptor, Buffer.concat([length, json]));
  ftruncateSync(descriptor, 8 + json.length + end);
  closeSync(descriptor);
}
