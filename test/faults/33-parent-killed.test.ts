/**
 * Fault: kill -9 of `eyrie start`, the parent of everything.
 * Expected: its children, the Redis servers too, see that the control pipe is closed, and end.
 * Invariant: nothing is left running.
 * Bound: gone within 1 s, and what a worker may need to hand back its turns.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { writeScriptedModel } from "#test/doubles/backend/model.ts";
import { patience, Recorder, rounds } from "./figures.ts";

const root = resolve(import.meta.dirname, "../..");

test("the death of the parent leaves nothing running", patience(1), async ({ task }) => {
  const home = mkdtempSync(join(tmpdir(), "eyrie-parent-"));
  const recorder = new Recorder();
  try {
    writeScriptedModel(join(home, "model"));
    for (let round = 0; round < rounds(1); round++) {
      const parent = await start(home);
      expect(descendants(home).length).toBeGreaterThan(2);
      parent.kill("SIGKILL");
      const killedMs = performance.now();
      await expect.poll(() => descendants(home), { timeout: 30_000, interval: 10 }).toEqual([]);
      recorder.add("parent killed: nothing left", 1_000, performance.now() - killedMs);
    }
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
  recorder.save(task);
});

async function start(home: string): Promise<ChildProcess> {
  const environment = {
    EYRIE_HOME: home,
    EYRIE_MODEL: join(home, "model"),
    EYRIE_BACKEND: "reference",
    EYRIE_WORKER_PORT: "0",
    EYRIE_GATEWAY_PORT: "0",
    REDIS_URL: "",
    STATE_REDIS_URL: "",
    DISCORD_TOKEN: "",
  };
  const parent = spawn(process.execPath, ["eyrie.mjs", "start"], {
    cwd: root,
    env: { ...process.env, ...environment },
  });
  let output = "";
  await new Promise<void>((ready, reject) => {
    parent.once("exit", (code) => reject(new Error(`exit ${code}: ${output}`)));
    for (const stream of [parent.stdout, parent.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        if (output.includes("Eyrie is running")) ready();
      });
    }
  });
  return parent;
}

/** Command lines of living processes that have this platform's folder in their environment. */
function descendants(home: string): string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    try {
      const read = (file: string): string => readFileSync(`/proc/${pid}/${file}`, "utf8");
      const ours = read("environ").includes(home) || read("cmdline").includes(home);
      return ours ? [read("cmdline").replaceAll("\0", " ")] : [];
    } catch {
      return [];
    }
  });
}
