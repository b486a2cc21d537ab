/**
 * `eyrie start` as a newcomer runs it: it starts everything, Ctrl-C leaves nothing behind, and the
 * next start goes on where the last one stopped.
 */
import { type ChildProcess, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { History } from "#infra/ledger/history.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { connectRedis } from "#infra/redis/client.ts";
import type { Turn } from "#infra/turn/index.ts";
import { WakeBell } from "#infra/wake/wake.ts";
import { aConversation, aTurn } from "../infra/turns.ts";
import { environmentOf, root, startEyrie, stopEyrie } from "./starter.ts";

const home = mkdtempSync(join(tmpdir(), "eyrie-start-"));
const environment = environmentOf(home);
let running: ChildProcess | null = null;

afterAll(async () => {
  if (running !== null) await stop("SIGKILL");
  rmSync(home, { recursive: true, force: true });
});

async function start(): Promise<void> {
  running = await startEyrie(environment);
}

async function stop(signal: NodeJS.Signals): Promise<number | null> {
  const child = running;
  running = null;
  return child && stopEyrie(child, signal);
}

/** Command lines of processes that still name this platform's folder in their environment. */
function leftovers(): string[] {
  const pids = execFileSync("ps", ["-e", "-o", "pid="]).toString().split("\n");
  return pids.flatMap((pid) => {
    try {
      const of = (file: string): string => readFileSync(`/proc/${pid.trim()}/${file}`, "utf8");
      return of("environ").includes(home) || of("cmdline").includes(home)
        ? [of("cmdline").replaceAll("\0", " ")]
        : [];
    } catch {
      return [];
    }
  });
}

function eyrie(...args: string[]): { code: number; out: string; err: string } {
  try {
    const options = { cwd: root, env: environment, stdio: "pipe" as const };
    const out = execFileSync(process.execPath, ["eyrie.mjs", ...args], options).toString();
    return { code: 0, out, err: "" };
  } catch (error) {
    const failed = error as { status: number; stdout: Buffer; stderr: Buffer };
    return { code: failed.status, out: failed.stdout.toString(), err: failed.stderr.toString() };
  }
}

/** Plays turns of many conversations on the running platform, as `eyrie chat` does. */
async function play(turns: readonly Turn[]): Promise<string[]> {
  const note = readFileSync(join(home, "platform.json"), "utf8");
  const truth = await connectRedis((JSON.parse(note) as { truthUrl: string }).truthUrl);
  const bell = new WakeBell(truth);
  const mailbox = new Mailbox(truth);
  const ledger = new Ledger(truth);
  for (const turn of turns) {
    await mailbox.append(turn);
    const { conversation, id: headTurnId, model } = turn;
    await bell.ring({ conversation, headTurnId, model, traceId: headTurnId });
  }
  const texts: string[] = [];
  for (const { conversation, id, attempt } of turns) {
    const find = () => ledger.reply(conversation, { turn: id, attempt });
    await expect.poll(find, { timeout: 20_000 }).not.toBeNull();
    texts.push((await find())?.text ?? "");
  }
  await bell.close();
  truth.disconnect();
  return texts;
}

const conversations = 30;
/** Hot on purpose: a state that differs in anything says something else. */
const sampling = {
  temperature: 2.5,
  topP: 1,
  presencePenalty: 0.2,
  frequencyPenalty: 0.2,
  penaltyDecay: 0.996,
};
const questions = [
  "Hello!",
  "My favourite colour is green.",
  "Who are you?",
  "Tell me a joke.",
  "What can you do?",
  "Good night!",
];

/** Turns `from` to `to` of every conversation of a family; twins share turn ids, and so seeds. */
function family(name: string, from: number, to: number): Turn[] {
  return Array.from({ length: conversations }, (_, index) =>
    Array.from({ length: to - from }, (_unused, turn) =>
      aTurn(1000 * (index + 1) + from + turn, {
        conversation: aConversation(`${name}-${index}`),
        text: questions[(index + from + turn) % questions.length] ?? "",
        sampling,
      }),
    ),
  ).flat();
}

describe("the platform from start to Ctrl-C and on", () => {
  test("says one thing and prints the reply only", async () => {
    await start();
    const said = eyrie("chat", "--once", "Hello, who are you?");
    expect(said.code).toBe(0);
    expect(said.out).toMatch(/Eaglet/);
    expect(said.err).toBe("");
  });

  test("a second start is refused by name", () => {
    expect(eyrie("start")).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^ALREADY_RUNNING: /),
    });
  });

  test("goes on after a stop: 30 conversations, token for token as if never interrupted", async () => {
    await play(family("twin", 0, 3));
    const unbroken = await play(family("twin", 3, 6));
    await play(family("stopped", 0, 3));
    await play(family("reset", 0, 3));
    expect(await stop("SIGINT")).toBe(0);
    expect(leftovers()).toEqual([]);

    await start();
    const note = readFileSync(join(home, "platform.json"), "utf8");
    const truth = await connectRedis((JSON.parse(note) as { truthUrl: string }).truthUrl);
    for (let index = 0; index < conversations; index++) {
      await new History(truth).reset(aConversation(`reset-${index}`), "test");
    }
    truth.disconnect();
    expect(await play(family("stopped", 3, 6))).toEqual(unbroken);
    const afterReset = await play(family("reset", 3, 6));
    for (let index = 0; index < conversations; index++) {
      const own = (texts: readonly string[]): string =>
        texts.slice(3 * index, 3 * index + 3).join();
      expect.soft(own(afterReset), `conversation ${index}`).not.toBe(own(unbroken));
    }
  }, 120_000);

  test("ends with its parent's terminal, whatever the way", async () => {
    expect(await stop("SIGTERM")).toBe(0);
    expect(leftovers()).toEqual([]);
    await start();
    const pid = running?.pid ?? 0;
    running = null;
    process.kill(pid, "SIGKILL");
    await expect.poll(leftovers, { timeout: 15_000 }).toEqual([]);
  }, 60_000);
});
