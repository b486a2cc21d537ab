/** What several of the double's tests need: unmodified clients, and a bare REST and gateway client. */
import { once } from "node:events";
import { Client, Events, GatewayIntentBits as Intent, Partials } from "discord.js";
import type { Interaction, Message } from "discord.js";
import { onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { DiscordDouble } from "../index.ts";
import type { Channel, DoubleOptions, Guild, User } from "../index.ts";

export interface Scene {
  readonly double: DiscordDouble;
  readonly guild: Guild;
  readonly channel: Channel;
  readonly user: User;
}

/** A double with one guild, one channel, one user; closed when the test ends. */
export async function scene(options: Partial<DoubleOptions> = {}): Promise<Scene> {
  const double = await DiscordDouble.start(options);
  onTestFinished(() => double.close());
  const guild = double.addGuild({ name: "Aerie", preferredLocale: "fr" });
  const channel = double.addChannel(guild, { name: "general" });
  const user = double.addUser({ name: "Ada", locale: "de" });
  return { double, guild, channel, user };
}

export const baseIntents = [Intent.Guilds, Intent.GuildMessages, Intent.DirectMessages];

/** discord.js' own client, pointed at the double by its public option. */
export function client(double: DiscordDouble, intents: number[] = baseIntents): Client {
  // Direct messages reach discord.js' Client only with this partial: Discord announces no channel.
  const partials = [Partials.Channel];
  const bot = new Client({ intents, partials, rest: { api: double.restUrl } });
  onTestFinished(() => bot.destroy());
  return bot;
}

export async function loggedIn(double: DiscordDouble, intents?: number[]): Promise<Client> {
  const bot = client(double, intents);
  const ready = once(bot, Events.ClientReady);
  await bot.login(double.token);
  await ready;
  return bot;
}

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  // Discord's JSON, looked at field by field.
  readonly body: Record<string, unknown> & { code?: number; errors?: Record<string, unknown> };
}

export function onInteraction(bot: Client, act: (event: Interaction) => Promise<void>): void {
  bot.on(Events.InteractionCreate, (event) => void act(event));
}

export function onUserMessage(bot: Client, act: (message: Message) => Promise<void>): void {
  bot.on(Events.MessageCreate, (message) => void (message.author.bot || act(message)));
}

/** One request as the bot, without a client library between. */
export async function call(
  double: DiscordDouble,
  request: string,
  body?: unknown,
  headers: Record<string, string> = { authorization: `Bot ${double.token}` },
): Promise<Answered> {
  const [method = "GET", path = "/"] = request.split(" ");
  const answer = await fetch(`${double.restUrl}/v10${path}`, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  const json = answer.headers.get("content-type")?.includes("json") ?? false;
  const parsed = (json ? JSON.parse(text) : { text }) as Answered["body"];
  return { status: answer.status, headers: answer.headers, body: parsed };
}

export interface Frame {
  readonly op: number;
  readonly t: string | null;
  readonly s: number | null;
  readonly d: Record<string, unknown>;
}

/** A socket that says exactly what it is told, to see what the gateway answers. */
export class Wire {
  readonly frames: Frame[] = [];
  readonly socket: WebSocket;
  closeCode: number | null = null;
  readonly #double: DiscordDouble;

  constructor(double: DiscordDouble, query = "v=10&encoding=json") {
    this.#double = double;
    this.socket = new WebSocket(`${double.gatewayUrl}?${query}`);
    this.socket.on("message", (data) => {
      this.frames.push(JSON.parse((data as Buffer).toString()) as Frame);
    });
    this.socket.on("close", (code) => {
      this.closeCode = code;
    });
    onTestFinished(() => this.socket.terminate());
  }

  send(payload: unknown): void {
    this.socket.send(typeof payload === "string" ? payload : JSON.stringify(payload));
  }

  identify(d: Record<string, unknown> = {}): void {
    const properties = { os: "linux", browser: "test", device: "test" };
    this.send({ op: 2, d: { token: this.#double.token, intents: 513, properties, ...d } });
  }

  resume(sessionId: unknown, seq: number): void {
    this.send({ op: 6, d: { token: this.#double.token, session_id: sessionId, seq } });
  }

  hello(): Promise<Frame> {
    return this.waitFor((frame) => frame.op === 10);
  }

  dispatched(type: string): Promise<Frame> {
    return this.waitFor((frame) => frame.t === type);
  }

  waitFor(test: (frame: Frame) => boolean): Promise<Frame> {
    return this.#double.waitFor(() => this.frames.find(test));
  }

  closed(): Promise<number> {
    return this.#double.waitFor(() => this.closeCode);
  }
}
