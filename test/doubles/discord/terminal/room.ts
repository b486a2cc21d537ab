/**
 * The person's seat: which channel, as whom, and what a typed line does. Plain lines are messages
 * that mention the bot; lines with a slash are the room's own words or commands the bot registered.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ApplicationCommandOptionType as Option } from "discord-api-types/v10";
import type { Command } from "../commands.ts";
import type { DiscordDouble } from "../double.ts";
import { componentsOf } from "../interactions.ts";
import type { OptionValue, OptionValues } from "../interactions.ts";
import type { Message } from "../messages.ts";
import { listOf } from "../rules/form.ts";
import { waitUntil } from "../wait.ts";
import type { Channel, Guild, User } from "../world.ts";
import { faultHelp, throwFault } from "./faultWords.ts";
import { labelOf } from "./format.ts";

/** A reply counts as finished when it has not changed for so long. */
const restSecondsDefault = 2.5;
const waitSecondsDefault = 60;

export interface Seat {
  readonly guild: Guild;
  channel: Channel;
  user: User;
}

/** What typing a line led to: notes to show, whether the channel changed, whether to leave. */
export interface Outcome {
  readonly notes?: readonly string[];
  readonly moved?: true;
  readonly quit?: true;
}

type Act = (text: string) => Outcome | Promise<Outcome>;

export class Room {
  readonly #double: DiscordDouble;
  readonly seat: Seat;
  #lastActAtMs = 0;
  readonly #words: Readonly<Record<string, Act>> = {
    help: () => ({ notes: this.help() }),
    as: (name) => this.#sitAs(name),
    dm: (text) => this.#direct(text),
    channel: (name) => this.#goTo(name),
    say: (text) => this.#say(text, false),
    stop: () => this.#press("stop"),
    press: (label) => this.#press(label),
    delete: () => this.#deleteOwn(),
    fault: (text) => ({ notes: [throwFault(this.#double, text)] }),
    counters: () => ({ notes: [JSON.stringify(this.#double.counters())] }),
    online: (seconds) => this.#online(Number(seconds) || waitSecondsDefault),
    wait: (text) => this.#wait(text),
    quit: () => ({ quit: true }),
  };

  constructor(double: DiscordDouble, seat: Seat) {
    this.#double = double;
    this.seat = seat;
  }

  /** Throws with a sentence for the person when a line cannot be done. */
  async type(line: string): Promise<Outcome> {
    const text = line.trim();
    if (text === "" || text.startsWith("#")) return {};
    const slash = /^\/(\S+)\s*([\s\S]*)$/.exec(text);
    if (!slash) return this.#say(text, true);
    const [, name = "", rest = ""] = slash;
    const own = Object.hasOwn(this.#words, name) ? this.#words[name] : undefined;
    return own ? own(rest.trim()) : this.#runCommand(name, rest.trim());
  }

  help(): string[] {
    const { channel } = this.seat;
    const { commands } = this.#double;
    const registered = [...commands.in(channel.guildId), ...commands.in(null)];
    const names = [...new Set(registered.filter(({ type }) => type === 1).map((c) => c.name))];
    return [
      "TEXT                      say it to the bot (mentions it)",
      "/say TEXT                 say it without mentioning the bot",
      "/COMMAND [NAME:VALUE …]   run one of the bot's commands; bare text fills its first option",
      "/stop, /press LABEL       press a button of the bot's newest message",
      "/delete                   delete your newest message",
      "/dm [TEXT]                go to direct messages with the bot",
      "/channel NAME             go to a channel, made if need be",
      "/as NAME [LOCALE]         speak as somebody else",
      "/wait [SECONDS [REST]]    wait until the bot's reply has not changed for REST seconds",
      "/online [SECONDS]         wait until the bot is there",
      "/counters, /help, /quit",
      ...faultHelp(),
      `the bot's commands: ${names.length > 0 ? names.map((n) => `/${n}`).join(" ") : "none yet"}`,
    ];
  }

  #say(text: string, mention: boolean): Outcome {
    const { channel, user } = this.seat;
    this.#acted();
    // In a direct message everything is meant for the bot.
    const mentions = mention && channel.guildId !== null;
    this.#double.userSays(channel, user, text, { mention: mentions });
    return {};
  }

  #direct(text: string): Outcome {
    this.seat.channel = this.#double.directChannel(this.seat.user);
    if (text !== "") this.#say(text, false);
    return { moved: true };
  }

  #goTo(asked: string): Outcome {
    const name = asked.replace(/^#/, "") || "general";
    const { guild } = this.seat;
    const known = this.#double.world.channelsOf(guild.id).find((one) => one.name === name);
    this.seat.channel = known ?? this.#double.addChannel(guild, { name });
    return { moved: true };
  }

  #sitAs(text: string): Outcome {
    const [name = "", locale = "en-US"] = text.split(/\s+/);
    if (name === "") throw new Error("as whom? /as NAME [LOCALE]");
    const known = [...this.#double.world.users.values()].find((one) => one.name === name);
    this.seat.user = known ?? this.#double.addUser({ name, locale });
    return { notes: [`you are ${name}`] };
  }

  #press(label: string): Outcome {
    const { channel, user } = this.seat;
    const wanted = label.toLowerCase();
    for (const message of this.#double.botMessages(channel).toReversed()) {
      const button = componentsOf(message).find(
        (one) =>
          typeof one["custom_id"] === "string" &&
          one["disabled"] !== true &&
          `${labelOf(one)} ${one["custom_id"]}`.toLowerCase().includes(wanted),
      );
      if (!button) continue;
      this.#acted();
      this.#double.userPresses(message, String(button["custom_id"]), user);
      return {};
    }
    throw new Error(`no button here says ${label}`);
  }

  #deleteOwn(): Outcome {
    const { channel, user } = this.seat;
    const own = this.#double.messages(channel).findLast((one) => one.author.id === user.id);
    if (!own) throw new Error("you have said nothing here");
    this.#double.deleteMessage(own);
    return {};
  }

  async #runCommand(name: string, text: string): Promise<Outcome> {
    const { channel, user } = this.seat;
    const command = this.#double.commands.find(channel.guildId, name);
    if (!command) throw new Error(`/${name} is neither a word here nor a command of the bot`);
    const { path, options } = readOptions(command, text);
    this.#acted();
    const run = this.#double.userRunsCommand(channel, user, [name, ...path].join(" "), { options });
    try {
      await run.response();
      return {};
    } catch {
      return { notes: ["The application did not respond"] };
    }
  }

  async #online(seconds: number): Promise<Outcome> {
    const isThere = (): boolean => this.#double.gateway.live.length > 0;
    await waitUntil(isThere, seconds * 1000, () => "the bot to come online");
    return {};
  }

  /** Until the bot has answered the last act here and its newest message rests. */
  async #wait(text: string): Promise<Outcome> {
    const [seconds, rest] = text.split(/\s+/).map(Number);
    const restMs = (rest || restSecondsDefault) * 1000;
    const { channel } = this.seat;
    const newest = (): Message | undefined => this.#double.botMessages(channel).at(-1);
    const rested = (): boolean => {
      const changedAtMs = newest()?.history.at(-1)?.atMs ?? 0;
      const answered = changedAtMs >= this.#lastActAtMs;
      return answered && this.#double.clock.now() - changedAtMs >= restMs;
    };
    await waitUntil(rested, (seconds || waitSecondsDefault) * 1000, () => "the bot's reply");
    // One more look, so that the last version is on the screen before the next line is done.
    await sleep(100);
    return {};
  }

  #acted(): void {
    this.#lastActAtMs = this.#double.clock.now();
  }
}

/** `language value:de` or bare text; words that name subcommands come first. */
function readOptions(command: Command, text: string): { path: string[]; options: OptionValues } {
  let defined = listOf(command["options"]);
  let rest = text;
  const path: string[] = [];
  for (;;) {
    const [word = ""] = rest.split(/\s+/, 1);
    const sub = defined.find(
      (option) =>
        option["name"] === word &&
        (option["type"] === Option.Subcommand || option["type"] === Option.SubcommandGroup),
    );
    if (!sub) break;
    path.push(word);
    rest = rest.slice(word.length).trim();
    defined = listOf(sub["options"]);
  }
  const options: Record<string, OptionValue> = {};
  const names = defined.map((option) => String(option["name"])).join("|");
  const pairs = new RegExp(`(?:^|\\s)(${names || "(?!)"}):`, "gu");
  const starts = [...rest.matchAll(pairs)];
  for (const [i, start] of starts.entries()) {
    const end = starts[i + 1]?.index ?? rest.length;
    const value = rest.slice(start.index + start[0].length, end).trim();
    const option = defined.find((one) => one["name"] === start[1]);
    options[String(start[1])] = convert(option?.["type"], value);
  }
  const bare = rest.slice(0, starts[0]?.index ?? rest.length).trim();
  const [first] = defined;
  if (bare !== "" && !first) throw new Error(`/${command.name} takes no text`);
  if (bare !== "" && first) options[String(first["name"])] = convert(first["type"], bare);
  return { path, options };
}

function convert(type: unknown, text: string): OptionValue {
  if (type === Option.Integer || type === Option.Number) return Number(text);
  if (type === Option.Boolean) return ["true", "yes", "on", "1"].includes(text.toLowerCase());
  return text;
}
