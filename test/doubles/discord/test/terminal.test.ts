/** `npm run double` as a process: a script talks to a discord.js bot, the transcript tells of it. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ActionRowBuilder, ButtonBuilder, ButtonStyle, Client, Events } from "discord.js";
import { expect, onTestFinished, test } from "vitest";
import { wrap } from "../terminal/format.ts";
import { waitUntil } from "../wait.ts";
import { baseIntents, onInteraction, onUserMessage } from "./support.ts";

const main = fileURLToPath(new URL("../main.ts", import.meta.url));

interface Run {
  readonly process: ChildProcess;
  readonly text: () => string;
  readonly exit: Promise<number | null>;
}

function start(args: string[]): Run {
  const child = spawn(process.execPath, [main, ...args], { stdio: ["pipe", "pipe", "pipe"] });
  onTestFinished(() => void child.kill());
  let text = "";
  const add = (chunk: Buffer): void => void (text += chunk.toString());
  child.stdout.on("data", add);
  child.stderr.on("data", add);
  const exit = new Promise<number | null>((resolve) => child.on("exit", resolve));
  return { process: child, text: () => text, exit };
}

async function scriptFile(lines: string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "double-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "script.txt");
  await writeFile(path, lines.join("\n"));
  return path;
}

/** A bot that answers in two edits, with a Stop button while it writes. */
async function startBot(double: Run): Promise<Client> {
  const env = await waitUntil(
    () => /DISCORD_TOKEN=(\S+) DISCORD_API_URL=(\S+)/.exec(double.text()),
    5_000,
    () => `the environment lines in ${double.text()}`,
  );
  const [, token = "", api = ""] = env;
  const bot = new Client({ intents: baseIntents, rest: { api } });
  onTestFinished(() => bot.destroy());
  const stop = new ActionRowBuilder<ButtonBuilder>().addComponents(
    new ButtonBuilder().setCustomId("v1:stop").setLabel("Stop").setStyle(ButtonStyle.Danger),
  );
  bot.on(Events.ClientReady, () => {
    void bot.application?.commands.set([
      {
        name: "chat",
        description: "Talk",
        options: [{ name: "text", description: "What", type: 3, required: true }],
      },
    ]);
  });
  onUserMessage(bot, async (message) => {
    const reply = await message.reply({ content: "Once", components: [stop] });
    await reply.edit("Once upon");
  });
  onInteraction(bot, async (event) => {
    if (event.isButton()) await event.update({ content: "stopped", components: [] });
    if (event.isChatInputCommand()) await event.reply(`chat: ${event.options.getString("text")}`);
  });
  await bot.login(token);
  return bot;
}

test("a script talks, presses, runs a command, and leaves with 0", async () => {
  const lines = [
    "/online 10",
    "hello",
    "/wait 10 0.4",
    "/stop",
    "/wait 10 0.4",
    "/chat how are you",
  ];
  const double = start(["--port", "0", "--script", await scriptFile([...lines, "/wait 10 0.4"])]);
  await startBot(double);
  expect(await double.exit).toBe(0);
  const text = double.text();
  const order = ["online", "@Eyrie hello", "Once", "Once upon", "stopped", "chat: how are you"];
  const places = order.map((part) => text.indexOf(part));
  expect(places).not.toContain(-1);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(text).toContain("[ Stop ]");
}, 20_000);

test("a line that cannot be done is said and makes the exit code 1", async () => {
  const double = start(["--port", "0", "--script", "-"]);
  double.process.stdin?.end("/nothing\n/fault nonsense\n/help\n");
  expect(await double.exit).toBe(1);
  expect(double.text()).toContain("/nothing is neither a word here nor a command of the bot");
  expect(double.text()).toContain("no such fault: nonsense");
  expect(double.text()).toContain("/fault cut");
});

test("--help says how; a bad port is bad usage", async () => {
  const help = start(["--help"]);
  expect(await help.exit).toBe(0);
  expect(help.text()).toContain("--script");
  expect(await start(["--port", "x"]).exit).toBe(2);
});

test("lines are wrapped by terminal cells, wide characters counted twice", () => {
  expect(wrap("one two three", 8)).toEqual(["one two", "three"]);
  expect(wrap("語語語語", 4)).toEqual(["語語", "語語"]);
  expect(wrap("a\n\nb", 8)).toEqual(["a", "", "b"]);
});
