/**
 * `eyrie chat`: talk to the bot in the terminal. Interactive when no `--once` is given; Ctrl-C stops
 * a running reply, and ends the chat when nothing runs.
 */
import { createInterface } from "node:readline";
import { styleText } from "node:util";
import { loadConfig } from "#infra/config/config.ts";
import { readModelCard } from "#infra/config/model-card.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { loadTranslator, type Translator } from "#infra/i18n/i18n.ts";
import { conversationId, isConversationId, type TurnId } from "#infra/turn/index.ts";
import { Dialogue } from "../dialogue.ts";
import { findPlatform } from "../platform.ts";

export interface ChatOptions {
  readonly once?: string;
  readonly conversation: string;
}

export async function chat(options: ChatOptions): Promise<void> {
  const config = loadConfig(process.env);
  const id = `cli-${options.conversation}`;
  if (!isConversationId(id)) {
    throw new EyrieError("USAGE", { reason: "--conversation: letters, digits, dot, dash" });
  }
  const addresses = findPlatform(config);
  const model = await readModelCard(config.EYRIE_MODEL);
  const dialogue = await Dialogue.open(config, addresses, {
    conversation: conversationId(id),
    model: model.name,
    sampling: model.sampling,
    maxTokens: config.EYRIE_REPLY_TOKENS_MAX,
    locale: config.EYRIE_LOCALE,
  });
  try {
    if (options.once !== undefined) await sayOnce(dialogue, options.once);
    else await talk(dialogue, await loadTranslator(), config.EYRIE_LOCALE);
  } finally {
    await dialogue.close();
  }
}

async function sayOnce(dialogue: Dialogue, text: string): Promise<void> {
  const printer = new Printer();
  await dialogue.say(text, { show: (reply) => printer.show(reply) });
  process.stdout.write("\n");
}

/** Prints a growing text; what a lost worker said differently is printed anew on its own line. */
class Printer {
  #printed = "";

  show(text: string): void {
    if (text.startsWith(this.#printed)) {
      process.stdout.write(text.slice(this.#printed.length));
    } else if (this.#printed.startsWith(text)) {
      return;
    } else {
      process.stdout.write(`\n${text}`);
    }
    this.#printed = text;
  }
}

async function talk(dialogue: Dialogue, translator: Translator, locale: string): Promise<void> {
  const text = (key: string, values: Record<string, string | number> = {}): string =>
    translator.text(locale, `terminal:${key}`, values);
  const lines = createInterface({
    input: process.stdin,
    output: process.stdout,
    terminal: process.stdin.isTTY,
    prompt: styleText(["bold", "cyan"], `${text("you")} `),
  });
  let running: TurnId | null = null;
  let ended = false;
  lines.once("close", () => {
    ended = true;
  });
  lines.on("SIGINT", () => {
    if (running === null) lines.close();
    else void dialogue.stop(running);
  });
  note(text("chatHelp"));
  lines.prompt();
  // Lines typed while a reply runs wait their turn inside the iterator.
  for await (const line of lines) {
    const said = line.trim();
    if (said === "/quit") break;
    if (said === "/help") note(text("chatHelp"));
    else if (said === "/undo") await undo();
    else if (said === "/reset") note(text("forgotten", { count: await dialogue.reset() }));
    else if (said.startsWith("/")) note(text("unknownCommand", { command: said }));
    else if (said !== "") await exchange(said);
    // Lines that were piped in are still answered after their end was seen.
    if (!ended) lines.prompt();
  }
  lines.close();

  async function undo(): Promise<void> {
    const count = await dialogue.undo(1);
    note(count === 0 ? text("undoNothing") : text("undone", { count }));
  }

  async function exchange(said: string): Promise<void> {
    const printer = new Printer();
    process.stdout.write(`${styleText(["bold", "magenta"], text("bot"))} `);
    try {
      await dialogue.say(said, {
        show: (reply) => printer.show(reply),
        started: (turn) => {
          running = turn;
        },
      });
      process.stdout.write("\n");
    } catch (error) {
      if (!(error instanceof EyrieError)) throw error;
      note(`${error.code}: ${translator.error(locale, error)}`);
    } finally {
      running = null;
    }
  }
}

function note(line: string): void {
  process.stdout.write(`${styleText("gray", line)}\n`);
}
