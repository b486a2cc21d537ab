/** The gateway as the process that `eyrie start` runs: killed, ended, refused. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Stage } from "./stage.ts";

const program = resolve(import.meta.dirname, "../../apps/gateway/main.ts");

let stage: Stage;
const children: ChildProcess[] = [];

beforeEach(async () => {
  stage = await Stage.open({ empty: true });
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await stage.close();
});

function spawnGateway(changes: Record<string, string> = {}): ChildProcess {
  const env = { ...process.env, ...stage.environment(changes) };
  const child = fork(program, { env, stdio: ["ignore", "ignore", "pipe", "ipc"] });
  children.push(child);
  return child;
}

test("killed without warning in mid-stream, the next one finishes in the same message", async () => {
  const first = spawnGateway();
  await once(first, "message");
  stage.ask("survive");
  const claim = await stage.worker.claim(stage.conversation);
  await stage.worker.say(claim, "I was");
  await stage.waitForShown("I was ▌");
  first.kill("SIGKILL");
  await once(first, "exit");
  stage.ask("said to nobody");
  await stage.start();
  await stage.worker.commit(claim, "I was killed and came back.");
  await stage.discord.waitFor(() => stage.shown()[0] === "I was killed and came back.");
  expect((await stage.worker.claim(stage.conversation)).head.text).toBe("said to nobody");
  await stage.discord.waitFor(() => stage.shown().length === 2);
  expect(stage.connections()).toEqual(["resumed"]);
});

test("asked to end, it ends with 0 and keeps its session", async () => {
  const child = spawnGateway();
  await once(child, "message");
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([0, null]);
  await stage.start();
  expect(stage.connections()).toEqual(["resumed"]);
});

test("refused, it says why in one line of the operator's language, with the code", async () => {
  const changes = { DISCORD_TOKEN: "wrong", EYRIE_LOCALE: "de", EYRIE_LOG_LEVEL: "silent" };
  const child = spawnGateway(changes);
  let words = "";
  child.stderr?.on("data", (chunk: Buffer) => (words += chunk.toString()));
  expect(await once(child, "close")).toEqual([1, null]);
  expect(words).toMatch(/^DISCORD_TOKEN_INVALID: Discord nimmt das Bot-Token nicht an\..+\n$/);
});
