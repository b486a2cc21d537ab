/** What a process logs arrives whole and in order, and a reader that goes away does not keep it. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, test } from "vitest";

const program = join(import.meta.dirname, "talkative.ts");

function start() {
  const child = fork(program, { stdio: ["ignore", "ignore", "pipe", "ipc"] });
  return { child, ended: once(child, "exit"), ready: once(child, "message") };
}

test("every line, in order, those of the last moment too", async () => {
  const { child, ended, ready } = start();
  let text = "";
  child.stderr!.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const closed = once(child.stderr!, "close");
  await ready;
  child.send("go on");
  expect(await ended).toEqual([0, null]);
  await closed;
  const lines = text.trimEnd().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { line: number }).line)).toEqual(
    Array.from({ length: 4_000 }, (_, line) => line),
  );
});

test("a process whose reader has gone ends all the same", async () => {
  const { child, ended, ready } = start();
  await ready;
  child.stderr!.destroy();
  child.send("go on");
  expect(await ended).toEqual([0, null]);
});
