/** Greeted through `eyrie chat --once` in each of its languages, Eaglet answers in that language. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { identifyLanguage } from "#infra/language/identify.ts";
import { languages, readIntents } from "#test/eaglet/corpus.ts";

const root = resolve(import.meta.dirname, "../..");
const home = mkdtempSync(join(tmpdir(), "eyrie-greetings-"));
const environment = {
  ...process.env,
  EYRIE_HOME: home,
  EYRIE_WORKER_PORT: "0",
  EYRIE_GATEWAY_PORT: "0",
  REDIS_URL: "",
  STATE_REDIS_URL: "",
  DISCORD_TOKEN: "",
};
let platform: ChildProcess;

beforeAll(async () => {
  platform = spawn(process.execPath, ["eyrie.mjs", "start"], { cwd: root, env: environment });
  await new Promise<void>((ready, reject) => {
    let output = "";
    platform.once("exit", (code) => reject(new Error(`exit ${code}: ${output}`)));
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      if (output.includes("Eyrie is running")) ready();
    };
    platform.stdout?.on("data", read);
    platform.stderr?.on("data", read);
  });
}, 60_000);

afterAll(async () => {
  const gone = new Promise((done) => platform.once("exit", done));
  platform.kill("SIGINT");
  await gone;
  rmSync(home, { recursive: true, force: true });
});

test.each(languages())("%s", { timeout: 60_000 }, async (language) => {
  const word = readIntents(language).get("greeting")?.questions[0] ?? "";
  const hello = `${word.charAt(0).toUpperCase()}${word.slice(1)}!`;
  const words = ["eyrie.mjs", "chat", "--conversation", language, "--once", hello];
  const { stdout } = await promisify(execFile)(process.execPath, words, {
    cwd: root,
    env: environment,
  });
  expect(identifyLanguage(stdout).language, `${hello} → ${stdout}`).toBe(language);
});
