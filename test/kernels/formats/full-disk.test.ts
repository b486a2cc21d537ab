/**
 * A disk that fills up in the middle of a conversion, and one that is the place itself: real ones,
 * tmpfs of a few MiB that only the converting process sees. Needs a Linux that lets us make a mount
 * namespace; skipped by name elsewhere.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeRandomModel } from "#kernels/model/random-model.ts";

const root = resolve(import.meta.dirname, "../../..");
const namespace = ["--user", "--map-root-user", "--mount", "--propagation", "private"];
const canMount =
  spawnSync("unshare", [...namespace, "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-full-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

/**
 * Converts onto a disk of 40 MiB on which, once the free room was checked, others take all but
 * `leftBytes`. Prints how it ended and what lies there then.
 */
const script = `
import { readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { convertModel } from "#kernels/model/convert.ts";
import { openModel } from "#kernels/model/model.ts";
const [input, disk, leftBytes] = process.argv.slice(1);
const fill = () => {
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(disk + "/others", Buffer.alloc(bavail * bsize - Number(leftBytes)));
};
const outcome = await convertModel(input, disk + "/model", { onPlan: fill }).then(
  () => ({ code: "converted" }),
  ({ code, values }) => ({ code, values }),
);
const left = readdirSync(disk);
const opens = await openModel(disk + "/model").then(() => true, () => false);
rmSync(disk + "/others");
const again = await convertModel(input, disk + "/model", {}).then(() => "converted", String);
console.log(JSON.stringify({ ...outcome, left, opens, again }));
`;

test.skipIf(!canMount).each([
  ["at the first chunk", 0],
  ["in the middle of the weights", 3 << 20],
  ["after the weights, before model.json", null],
])("no room left %s: nothing can be opened, and a second try works", (_, left) => {
  const shape = { layers: 2, heads: 4, headSize: 64, ffnWidth: 1024, vocabSize: 4096 };
  const [input, disk] = [join(directory, "model"), join(directory, "disk")];
  if (!existsSync(input)) writeRandomModel(input, shape, { seed: 1 });
  // Whole pages: the file of the weights fits, and not a byte more.
  const weightsBytes = readFileSync(join(input, "weights.safetensors")).length;
  const leftBytes = left ?? Math.ceil(weightsBytes / 4096) * 4096;
  const command = `mkdir -p ${disk} && mount -t tmpfs -o size=40m none ${disk} && exec "$@"`;
  const args = [join(input, "weights.safetensors"), disk, String(leftBytes)];
  const run = [process.execPath, "--input-type=module", "--eval", script, ...args];
  const { stdout, stderr } = spawnSync(
    "unshare",
    [...namespace, "sh", "-c", command, "sh", ...run],
    { encoding: "utf8", cwd: root },
  );
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toMatchObject({
    code: "DISK_FULL",
    values: { path: join(disk, "model"), freeMb: 0 },
    left: ["others"],
    opens: false,
    again: "converted",
  });
});

const mount = (path: string): string => `mkdir -p ${path} && mount -t tmpfs none ${path}`;

/** Converts to where a disk is mounted. Prints how it ended and whether the work had begun. */
const ontoDisk = `
import { convertModel } from "#kernels/model/convert.ts";
const [input, disk] = process.argv.slice(1);
let begun = false;
const outcome = await convertModel(input, disk, { onPlan: () => (begun = true) }).then(
  () => ({ code: "converted" }),
  ({ code, values }) => ({ code, values }),
);
console.log(JSON.stringify({ ...outcome, begun }));
`;

test.skipIf(!canMount).each([
  ["where its parent can be written", "true", "EBUSY"],
  ["where it cannot", "mount -o remount,ro", "EROFS"],
])("a mounted disk cannot be replaced, %s: refused before the work", (_, remount, code) => {
  const shape = { layers: 1, heads: 1, headSize: 8, ffnWidth: 8, vocabSize: 8 };
  const [input, parent] = [join(directory, "tiny"), join(directory, "parent")];
  const disk = join(parent, "disk");
  if (!existsSync(input)) writeRandomModel(input, shape, { seed: 1 });
  const command = `${mount(parent)} && ${mount(disk)} && ${remount} ${parent} && exec "$@"`;
  const args = [join(input, "weights.safetensors"), disk];
  const run = [process.execPath, "--input-type=module", "--eval", ontoDisk, ...args];
  const { stdout, stderr } = spawnSync(
    "unshare",
    [...namespace, "sh", "-c", command, "sh", ...run],
    { encoding: "utf8", cwd: root },
  );
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual({
    code: "FOLDER_UNWRITABLE",
    values: {
      path: parent,
      reason: expect.stringMatching(`^${code}.*; choose a folder inside ${disk}$`),
    },
    begun: false,
  });
});
