/**
 * Takes the README's pictures: real conversations with Eaglet in channels of the Discord double,
 * through gateway, Redis and worker, drawn the way Discord draws them.
 *
 * Run `node eyrie.mjs --run test/pictures/conversation.ts`; needs chromium (apt install chromium
 * fonts-noto-core fonts-noto-cjk). Writes `conversation-<language>.png` beside this file.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { conversationId, turnId } from "#infra/turn/index.ts";
import { DiscordDouble, type Message, type User } from "#test/doubles/discord/index.ts";
import { TestPlatform } from "#test/platform/platform.ts";

const patienceMs = 60_000;

interface Script {
  readonly speaker: string;
  readonly channel: string;
  readonly lines: readonly string[];
}

/** One conversation in each of five scripts; in each, something told is asked for later. */
const scripts: Readonly<Record<string, Script>> = {
  en: {
    speaker: "robin",
    channel: "general",
    lines: [
      "Hello, who are you?",
      "What can you do?",
      "why does the hundredth message cost the same?",
      "my name is Tamsin",
      "tell me a joke",
      "what is my name?",
      "Thank you!",
    ],
  },
  ru: {
    speaker: "Анна",
    channel: "общий",
    lines: ["Привет!", "Меня зовут Анна", "Расскажи шутку", "Как меня зовут?"],
  },
  ar: {
    speaker: "ليلى",
    channel: "عام",
    lines: ["مرحبا", "من أنت؟", "رقمي هو 4711", "ما هو رقمي؟"],
  },
  hi: {
    speaker: "आशा",
    channel: "सामान्य",
    lines: ["नमस्ते", "तुम कौन हो?", "मेरा नाम आशा है", "मेरा नाम क्या है?"],
  },
  ja: {
    speaker: "はな",
    channel: "一般",
    lines: ["こんにちは", "あなたは誰ですか？", "私の名前はハナです", "私の名前は何ですか？"],
  },
};

async function talk(
  platform: TestPlatform,
  double: DiscordDouble,
  script: Script,
): Promise<readonly Message[]> {
  const guild = double.addGuild({ name: "Nest" });
  const channel = double.addChannel(guild, { name: script.channel });
  const user = double.addUser({ name: script.speaker });
  for (const text of script.lines) {
    const trigger = double.userSays(channel, user, text, { mention: true });
    await settled(platform, trigger);
  }
  return double.messages(channel);
}

/** Resolves when the whole reply stands: it is in the ledger, and no longer in the outbox. */
async function settled({ ledger }: TestPlatform, { channelId, id, wire }: Message): Promise<void> {
  const conversation = conversationId(`discord-${channelId}`);
  const key = { turn: turnId(id), attempt: 0 };
  for (const deadlineMs = Date.now() + patienceMs; Date.now() < deadlineMs; await sleep(50)) {
    const record = await ledger.reply(conversation, key);
    if (record !== null && (await ledger.outbox()).length === 0) return;
  }
  throw new Error(`no whole reply to ${wire.content}`);
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function draw(message: Message, bot: User): string {
  const name = message.author === bot ? bot.name : message.author.name;
  const isBot = message.author.id === bot.id;
  const colour = isBot ? "#5865f2" : "#e67e22";
  const at = new Date(message.createdAtMs).toISOString().slice(11, 16);
  const content = escape(message.wire.content).replace(
    `&lt;@${bot.id}>`,
    `<b class="mention">@${bot.name}</b>`,
  );
  return `
    <div class="message">
      <div class="avatar" style="background:${colour}">${escape(name[0]?.toUpperCase() ?? "")}</div>
      <div>
        <span class="name" style="color:${isBot ? "#fff" : colour}">${escape(name)}</span>
        ${isBot ? '<span class="app">APP</span>' : ""}
        <span class="time">${at}</span>
        <div class="text" dir="auto">${content}</div>
      </div>
    </div>`;
}

const style = `
  body { margin: 0; background: #313338; color: #dbdee1;
    font: 15px/1.4 "Noto Sans", "DejaVu Sans", "Noto Sans CJK JP", sans-serif; }
  header { padding: 12px 18px; border-bottom: 1px solid #26282c; font-weight: 600; color: #f2f3f5; }
  main { padding: 8px 18px 18px; }
  .message { display: flex; gap: 14px; margin-top: 14px; }
  .avatar { flex: 0 0 40px; height: 40px; border-radius: 50%; color: #fff; text-align: center;
    line-height: 40px; font-weight: 600; }
  .name { font-weight: 600; }
  .time { color: #949ba4; font-size: 12px; margin-left: 6px; }
  .app { background: #5865f2; color: #fff; border-radius: 4px; font-size: 10px; padding: 1px 5px;
    margin-left: 6px; }
  .mention { background: #3c4270; color: #c9cdfb; border-radius: 3px; padding: 0 3px; }
  .text { white-space: pre-wrap; max-width: 680px; }`;

function page(script: Script, messages: readonly Message[], bot: User): string {
  const drawn = messages.map((message) => draw(message, bot)).join("");
  return `<!doctype html><meta charset="utf-8"><style>${style}</style>
    <header># ${script.channel}</header><main>${drawn}</main>
    <script>document.body.dataset.height = Math.ceil(document.body.getBoundingClientRect().height)</script>`;
}

/** As high as it needs to be: the page is first asked how high that is. */
function photograph(name: string, html: string): void {
  const directory = mkdtempSync(join(tmpdir(), "eyrie-picture-"));
  const file = join(directory, "conversation.html");
  writeFileSync(file, html);
  const chromium = (...switches: string[]): string => {
    const always = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"];
    const profile = `--user-data-dir=${directory}`;
    return execFileSync("chromium", [...always, profile, ...switches, file], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: patienceMs,
    });
  };
  const height = /data-height="(\d+)"/.exec(chromium("--window-size=820,400", "--dump-dom"))?.[1];
  const target = join(import.meta.dirname, name);
  chromium(`--window-size=820,${height}`, `--screenshot=${target}`);
  rmSync(directory, { recursive: true, force: true });
}

const platform = await TestPlatform.start();
const double = await DiscordDouble.start({ botName: "Eaglet" });
try {
  await platform.worker();
  await platform.run("apps/gateway/main.ts", {
    DISCORD_TOKEN: double.token,
    DISCORD_API_URL: double.restUrl,
  });
  for (const [code, script] of Object.entries(scripts)) {
    const messages = await talk(platform, double, script);
    photograph(`conversation-${code}.png`, page(script, messages, double.botUser));
  }
} finally {
  await platform.stop();
  await double.close();
}
