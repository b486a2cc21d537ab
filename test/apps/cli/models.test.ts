/** `eyrie model pull | list | remove`, as people type them, against a hub of our own. */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { SafetensorsFile } from "#kernels/model/safetensors.ts";
import { HubDouble } from "#test/doubles/hub/double.ts";
import { torchFile } from "#test/kernels/formats/torch-file.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

const root = resolve(import.meta.dirname, "../../..");
const eaglet = join(root, "kernels/models/eaglet");
const namespace = ["--user", "--map-root-user", "--mount", "--propagation", "private"];
const canMount =
  spawnSync("unshare", [...namespace, "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;
const repo = "ada/eagle-small";
const weights = randomBytes(300_000);
let hub: HubDouble;
let home: string;

beforeEach(async () => {
  hub = await HubDouble.start();
  hub.put(repo, "eagle.pth", weights);
  hub.put(repo, "rwkv_vocab_v20230424.txt", "1 'a' 1\n", "small");
  home = mkdtempSync(join(tmpdir(), "eyrie-models-"));
});

afterEach(async () => {
  await hub.close();
  rmSync(home, { recursive: true, force: true });
});

function model(args: readonly string[], values: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const environment = { EYRIE_HOME: home, HF_ENDPOINT: hub.url, ...values };
  return eyrie(["model", ...args], { environment });
}

function expectError(outcome: Outcome, code: string, exitCode: 1 | 2): void {
  expect(errorLines(outcome)).toEqual([expect.stringMatching(new RegExp(`^${code}: .{20,}`))]);
  expect(outcome.code).toBe(exitCode);
}

test("pulled, listed and removed", async () => {
  const pulled = await model(["pull", repo]);
  expect(pulled.code).toBe(0);
  const directory = join(home, "models", "ada--eagle-small");
  const convert = `npx eyrie model convert ${directory}/eagle.pth --out ${directory}-eyrie --vocab `;
  expect(pulled.out).toContain(`${convert}${directory}/rwkv_vocab_v20230424.txt`);
  expect(pulled.err).toContain("eagle.pth (1 of 2");

  const listed = await model(["list"]);
  expect(listed.out).toMatch(/^eaglet +eyrie .* ready$/m);
  expect(listed.out).toMatch(/^ada--eagle-small +pth .* needs convert$/m);
  const json = JSON.parse((await model(["list", "--json"])).out) as unknown[];
  expect(json[1]).toMatchObject({ name: "ada--eagle-small", format: "pth", directory });

  const removed = await model(["remove", "ada--eagle-small"]);
  expect(removed.code).toBe(0);
  expect((await model(["list"])).out).not.toContain("ada--eagle-small");
});

test.each([".pth", ".safetensors"])("pulled, converted as it says, and run: %s", async (ending) => {
  const shape = { layers: 2, heads: 2, headSize: 8, ffnWidth: 24, vocabSize: 300 };
  const random = join(home, "random");
  writeRandomModel(random, shape, { seed: 5, dtype: "BF16" });
  hub.put("ada/random", `RWKV-5-World-tiny${ending}`, weightsAs(ending, random));
  // A token for every byte, as any vocabulary has.
  const lines = Array.from({ length: 256 }, (_, byte) => {
    return `${byte + 1} b'\\x${byte.toString(16).padStart(2, "0")}' 1`;
  });
  hub.put("ada/random", "rwkv_vocab_v20230424.txt", `${lines.join("\n")}\n`, "small");
  hub.faults.cutAfter = [10_000, 20_000];

  const pulled = await model(["pull", "ada/random"]);
  expect(pulled.code).toBe(0);
  const [, next = ""] = /^ +npx eyrie (model convert .*)$/m.exec(pulled.out) ?? [];
  const converted = await eyrie(next.split(" "));
  expect(converted.code).toBe(0);
  expect(converted.out).toMatch(/^vocabulary V +300, .*vocab\.txt$/m);
  expect((await model(["list"])).out).toMatch(/^ada--random +\w+ .* converted$/m);

  const made = `${join(home, "models", "ada--random")}-eyrie`;
  const ids = await eyrie(["tokenize", "--model", made, "Hi"]);
  expect(ids.out).toBe("73,106\n");
  const logits = (directory: string) =>
    eyrie(["logits", "--model", directory, "--tokens", ids.out.trim()]);
  expect((await logits(made)).out).toBe((await logits(random)).out);
  const said = await eyrie(["generate", "--model", made, "--prompt", "Hi", "--max-tokens", "4"]);
  expect(said.code).toBe(0);
  expect((await model(["remove", "ada--random-eyrie"])).code).toBe(0);
});

/** The weights of a model directory in the container that a hub has them in. */
function weightsAs(ending: string, directory: string): Buffer {
  const path = join(directory, "weights.safetensors");
  const file = readFileSync(path);
  if (ending === ".safetensors") return file;
  const opened = SafetensorsFile.open(path);
  opened.close();
  const tensors = [...opened.tensors.values()].map(({ name, shape, offset, bytes }) => {
    return { name, dtype: "BF16" as const, shape, data: file.subarray(offset, offset + bytes) };
  });
  return torchFile(tensors);
}

test("a model directory of ours runs as it is pulled", async () => {
  for (const name of ["weights.safetensors", "model.json", "vocab.txt"]) {
    hub.put("ada/guide", name, readFileSync(join(eaglet, name)));
  }
  const pulled = await model(["pull", "ada/guide", "--out", join(home, "guide"), "--json"]);
  expect(JSON.parse(pulled.out)).toMatchObject({ name: "guide", status: "ready" });
  expect((await model(["inspect", join(home, "guide")])).code).toBe(0);
});

test("Ctrl-C keeps what came, and the command it prints goes on from there", async () => {
  hub.faults.slowBytes = 5_000;
  const child = spawn(process.execPath, ["eyrie.mjs", "model", "pull", repo], {
    cwd: root,
    env: { PATH: process.env["PATH"], EYRIE_HOME: home, HF_ENDPOINT: hub.url },
  });
  let err = "";
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  const part = join(home, "models", "ada--eagle-small", "eagle.pth.partial");
  await expect.poll(() => sizeOf(part), { timeout: 10_000 }).toBeGreaterThan(20_000);
  child.kill("SIGINT");
  const code = await new Promise((done) => child.once("close", done));
  expect(code).toBe(1);
  expect(err).toMatch(new RegExp(`^PULL_STOPPED: .*npx eyrie model pull ${repo}$`, "m"));
  expect((await model(["list"])).out).toMatch(/incomplete/);

  hub.faults.slowBytes = 0;
  expect((await model(["pull", repo])).code).toBe(0);
  const ranges = hub.downloads().map(({ range }) => range);
  expect(ranges[1]).toMatch(/^bytes=[1-9]\d+-$/);
});

test("after a newer revision the command that comes next names its weights", async () => {
  await model(["pull", repo]);
  const directory = join(home, "models", "ada--eagle-small");
  mkdirSync(`${directory}-eyrie`);
  writeFileSync(join(`${directory}-eyrie`, "model.json"), "{}");
  expect((await model(["list"])).out).toMatch(/^ada--eagle-small +pth .* converted$/m);

  hub.remove(repo, "eagle.pth");
  hub.put(repo, "new.pth", randomBytes(300_000));
  const { out } = await model(["pull", repo]);
  expect(out).toMatch(
    /^ +npx eyrie model convert \S+\/new\.pth --out \S+-eyrie --vocab \S+ --force$/m,
  );
  expect((await model(["list"])).out).toMatch(/^ada--eagle-small +pth .* needs convert$/m);
});

test("an odd entry is listed as broken, beside the others, and can be removed", async () => {
  const models = join(home, "models");
  mkdirSync(models);
  symlinkSync("/nonexistent", join(models, "gone"));
  symlinkSync(join(eaglet, "model.json"), join(models, "file"));
  symlinkSync(eaglet, join(models, "linked"));
  const listed = await model(["list"]);
  expect(listed.code).toBe(0);
  expect(listed.out).toMatch(/^file +.* broken\ngone +.* broken\nlinked +eyrie .* ready$/m);
  for (const name of ["gone", "file", "linked"]) {
    expect((await model(["remove", name])).code).toBe(0);
  }
  expect(readdirSync(models)).toEqual([]);
  expect(sizeOf(join(eaglet, "model.json"))).toBeGreaterThan(0);

  rmSync(models, { recursive: true });
  writeFileSync(models, "no folder");
  expectError(await model(["list"]), "FOLDER_UNWRITABLE", 1);
  expectError(await model(["remove", "gone"]), "FOLDER_UNWRITABLE", 1);
});

test.skipIf(!canMount)("a volume in a place where nothing else can be written", async () => {
  const volume = join(home, "disk", "volume");
  const mounts = [
    `mkdir ${home}/disk && mount -t tmpfs none ${home}/disk && mkdir ${volume}`,
    `mount -t tmpfs none ${volume} && mount -o remount,ro ${home}/disk`,
    `${process.execPath} eyrie.mjs model pull ${repo} --out ${volume} --json && ls -A ${volume}`,
  ];
  const out = await inNamespace(mounts.join(" && "));
  expect(out).toMatch(/\n\.pull\.json\neagle\.pth\nrwkv_vocab_v20230424\.txt\n$/);
});

test("what was killed in the middle is listed, and a removal is finished by the next", async () => {
  const models = join(home, "models");
  // No process has the largest id that Linux gives out.
  const [removal, conversion] = [".removed-old-4194304", ".new.converting-4194304"];
  for (const name of [removal, conversion, `.mine.converting-${process.pid}`, "empty"]) {
    mkdirSync(join(models, name), { recursive: true });
  }
  const { out } = await model(["list"]);
  expect(out).toMatch(
    /^\.new\.converting-4194304 .* left over\n\.removed-old-4194304 .* left over$/m,
  );
  expect(out).toContain(`→ rm -r ${join(models, conversion)}\n`);
  expect(out).not.toContain(".mine");
  await model(["remove", "empty"]);
  expect(readdirSync(models)).not.toContain(removal);
});

test.skipIf(!canMount)("a disk without a byte left is named as such, and no lock stays", () => {
  const commands = [
    `mkdir ${home}/full && mount -t tmpfs -o size=64k none ${home}/full && mkdir ${home}/full/models`,
    `! dd if=/dev/zero of=${home}/full/others 2>&-`,
    `! ${process.execPath} eyrie.mjs model pull ${repo} 2>&1 && ls -A ${home}/full/models`,
  ];
  const outcome = inNamespace(commands.join(" && "), { EYRIE_HOME: `${home}/full` });
  return expect(outcome).resolves.toMatch(/^DISK_FULL: .*\n$/);
});

describe("what is not done, and why", () => {
  test("removing what is not there, what is shipped, what is in use, what is a path", async () => {
    await model(["pull", repo]);
    expectError(await model(["remove", "ada--eagle"]), "MODEL_UNKNOWN", 2);
    expectError(await model(["remove", "eaglet"]), "MODEL_PROTECTED", 1);
    const inUse = { EYRIE_MODEL: join(home, "models", "ada--eagle-small") };
    expectError(await model(["remove", "ada--eagle-small"], inUse), "MODEL_PROTECTED", 1);
    for (const path of ["../models", "models/ada--eagle-small", ".", home]) {
      expectError(await model(["remove", path]), "USAGE", 2);
    }
    expect((await model(["list"])).out).toContain("ada--eagle-small");
  });

  test("errors in the operator's language, and no token in any of them", async () => {
    hub.faults.gate = "hf_right";
    const denied = await model(["pull", repo], { HF_TOKEN: "hf_wrong", EYRIE_LOCALE: "de" });
    expectError(denied, "HUB_DENIED", 1);
    expect(denied.err).toContain("Der Hub gibt");
    expect(denied.err + denied.out).not.toContain("hf_wrong");
    const setting = await model(["pull", repo], { HF_TOKEN: "two words" });
    expectError(setting, "CONFIG_INVALID", 2);
    expect(setting.err).not.toContain("two words");
  });
});

/** What a shell prints that may mount disks of its own; it must end well. */
async function inNamespace(command: string, values: NodeJS.ProcessEnv = {}): Promise<string> {
  const child = spawn("unshare", [...namespace, "sh", "-c", command], {
    cwd: root,
    env: { PATH: process.env["PATH"], EYRIE_HOME: home, HF_ENDPOINT: hub.url, ...values },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  expect(await new Promise((done) => child.once("close", done))).toBe(0);
  return out;
}

function sizeOf(path: string): number {
  try {
    return readFileSync(path).length;
  } catch {
    return 0;
  }
}
