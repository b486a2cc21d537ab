/** Greeted through `eyrie chat --once` in each of its languages, Eaglet answers in that language. */
import { type ChildProcess, execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { identifyLanguage } from "#infra/language/identify.ts";
import { languages, readIntents } from "#test/eaglet/corpus.ts";
import { environmentOf, root, startEyrie, stopEyrie } from "./starter.ts";

const home = mkdtempSync(join(tmpdir(), "eyrie-greetings-"));
const environment = environmentOf(home);
let platform: ChildProcess;

beforeAll(async () => {
  platform = await startEyrie(environment);
}, 60_000);

afterAll(async () => {
  await stopEyrie(platform, "SIGINT");
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
