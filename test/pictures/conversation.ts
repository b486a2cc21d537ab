/**
 * Takes the README's picture: a real conversation with Eaglet in a channel of the Discord double,
 * through gateway, Redis and worker, drawn the way Discord draws it.
 *
 * Run `node eyrie.mjs --run test/pictures/conversation.ts`; needs chromium (apt install chromium
 * fonts-noto-cjk). Writes `conversation.png` beside this file.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Channel,
  DiscordDouble,
  type Message,
  type User,
} from "#test/doubles/discord/index.ts";
import { TestPlatform } from "#test/platform/platform.ts";

const questions: readonly (readonly [speaker: string, text: string])[] = [
  ["robin", "Hello, who are you?"],
  ["robin", "What can you do?"],
  ["jonas", "Hallo! Wie kann ich dich etwas fragen?"],
  ["jonas", "Wie vergisst du unser Gespräch?"],
  ["hana", "こんにちは！あなたは誰ですか？"],
  ["robin", "Thank you!"],
];
const colours: Readonly<Record<string, string>> = {
  robin: "#e67e22",
  jonas: "#2ecc71",
  hana: "#e91e63",
};

async function talk(): Promise<{ messages: readonly Message[]; bot: User }> {
  const platform = await TestPlatform.start();
  const double = await DiscordDouble.start({ botName: "Eaglet" });
  try {
    const channel = double.addChannel(double.addGuild({ name: "Nest" }), { name: "general" });
    const users = new Map(
      [...new Set(questions.map(([name]) => name))].map((name) => [name, double.addUser({ name })]),
    );
    await platform.worker();
    await platform.run("apps/gateway/main.ts", {
      DISCORD_TOKEN: double.token,
      DISCORD_API_URL: double.restUrl,
    });
    for (const [name, text] of questions) {
      const user = users.get(name);
      if (user === undefined) throw new Error(`no user ${name}`);
      await exchange(double, channel, { user, text, platform });
    }
    return { messages: double.messages(channel), bot: double.botUser };
  } finally {
    await platform.stop();
    await double.close();
  }
}

/** Says one thing and waits until the reply stands: nothing is left in the outbox. */
async function exchange(
  double: DiscordDouble,
  channel: Channel,
  say: { readonly user: User; readonly text: string; readonly platform: TestPlatform },
): Promise<void> {
  const trigger = double.userSays(channel, say.user, say.text, { mention: true });
  await double.waitForReply(channel, ({ replyTo }) => replyTo?.id === trigger.id, 20_000);
  for (;;) {
    const reply = double.botMessages(channel).find(({ replyTo }) => replyTo?.id === trigger.id);
    if (reply?.wire.components.length === 0) return;
    await new Promise((done) => setTimeout(done, 50));
  }
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function draw(message: Message, bot: User): string {
  const name = message.author === bot ? bot.name : message.author.name;
  const isBot = message.author.id === bot.id;
  const colour = isBot ? "#5865f2" : (colours[name] ?? "#999");
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
        <div class="text">${content}</div>
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

function page(messages: readonly Message[], bot: User): string {
  const drawn = messages.map((message) => draw(message, bot)).join("");
  return `<!doctype html><meta charset="utf-8"><style>${style}</style>
    <header># general</header><main>${drawn}</main>`;
}

const { messages, bot } = await talk();
const directory = mkdtempSync(join(tmpdir(), "eyrie-picture-"));
const html = join(directory, "conversation.html");
writeFileSync(html, page(messages, bot));
const switches = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"];
const size = `--window-size=820,${90 + messages.length * 66}`;
const target = `--screenshot=${join(import.meta.dirname, "conversation.png")}`;
execFileSync("chromium", [...switches, `--user-data-dir=${directory}`, size, target, html], {
  stdio: "ignore",
});
rmSync(directory, { recursive: true, force: true });
