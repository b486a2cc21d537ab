import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { EyrieError } from "#infra/errors/error.ts";
import { heapArguments } from "#infra/process/heap.ts";
import { reportError } from "#infra/process/process.ts";

afterEach(() => {
  process.exitCode = 0;
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

async function reported(error: unknown, locale = "en-US"): Promise<string> {
  let written = "";
  vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
    written += String(chunk);
    return true;
  });
  await reportError(error, locale);
  return written;
}

test("an operating error is one line with its code, in the operator's language", async () => {
  const error = new EyrieError("PORT_IN_USE", { host: "127.0.0.1", port: 80 });
  const english = await reported(error);
  expect(english).toMatch(/^PORT_IN_USE: .*80.*\n$/);
  expect(process.exitCode).toBe(1);
  expect(await reported(error, "ja")).not.toBe(english);
});

test("words of others in it do not steer the terminal", async () => {
  const reason = 'Unrecognized key: "\u001b[2Jboo\u0007\n"';
  const line = await reported(new EyrieError("MODEL_BROKEN", { path: "/m\u009b1m", reason }));
  expect(line).toMatch(/^MODEL_BROKEN: [^\p{Cc}]*\[2Jboo[^\p{Cc}]*\n$/u);
});

test("bad usage counts as such", async () => {
  await reported(new EyrieError("USAGE", { reason: "x" }));
  expect(process.exitCode).toBe(2);
});

test("a mistake of ours is INTERNAL, and shows where only when asked to", async () => {
  const mistake = new TypeError("undefined is not a bird");
  expect(await reported(mistake)).toMatch(/^INTERNAL: [^\n]+\n$/);
  vi.stubEnv("EYRIE_LOG_LEVEL", "debug");
  expect(await reported(mistake)).toContain("process.test.ts");
});

test("a process that makes many new objects keeps them in little memory, as do its threads", () => {
  // Some of them live for a while, for which V8 would take more and more room.
  const program = `
    const { isMainThread, Worker } = require("node:worker_threads");
    const { getHeapSpaceStatistics } = require("node:v8");
    if (isMainThread) new Worker(process.argv[1]);
    const kept = [];
    for (let made = 0; made < 20_000_000; made++) kept[made % 200_000] = { made, more: [made] };
    const space = getHeapSpaceStatistics().find(({ space_name: name }) => name === "new_space");
    console.log(space.space_size);
  `;
  const folder = mkdtempSync(join(tmpdir(), "eyrie-heap-"));
  const file = join(folder, "make.cjs");
  writeFileSync(file, program);
  const told = execFileSync(process.execPath, [...heapArguments, file], { encoding: "utf8" });
  rmSync(folder, { recursive: true });
  const sizes = told.trim().split("\n").map(Number);
  expect(sizes).toHaveLength(2);
  for (const size of sizes) expect(size).toBeLessThanOrEqual(32 * 2 ** 20);
});
