/** A gateway between a Discord double, a real Redis and a scripted worker, for one test. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageFlags } from "discord.js";
import { type Gateway, type GatewayOptions, startGateway } from "#apps/gateway/gateway.ts";
import { loadConfig } from "#infra/config/config.ts";
import { KeyRing } from "#infra/redis/keyring.ts";
import { plainRecords, Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { Log } from "#infra/telemetry/log.ts";
import { type ConversationId, conversationId } from "#infra/turn/index.ts";
import type { Channel, DoubleOptions, Message, User } from "#test/doubles/discord/index.ts";
import { DiscordDouble } from "#test/doubles/discord/index.ts";
import { everything } from "../infra/conversation/workshop.ts";
import { RedisServer, type RedisSettings } from "#test/redis/server.ts";
import { ScriptedWorker } from "./scripted-worker.ts";

/** Edits come faster than in life, and Discord lets them, so tests need not wait. */
export const editIntervalMs = 60;
const generous = { limit: 1_000, windowMs: 1_000 };
const generousLimits = {
  rules: {
    "POST /channels/:channel/messages": generous,
    "PATCH /channels/:channel/messages/:message": generous,
  },
  fallback: generous,
  global: generous,
};

export interface LogLine {
  readonly event: string;
  readonly fields: Record<string, unknown>;
}

export class Stage {
  readonly discord: DiscordDouble;
  readonly redis: RedisServer;
  readonly truth: ScriptedRedis;
  readonly worker: ScriptedWorker;
  readonly channel: Channel;
  readonly ada: User;
  readonly bob: User;
  readonly lines: LogLine[] = [];
  readonly #modelDirectory: string;
  readonly #keys: string;
  gateway: Gateway | null = null;

  private constructor(
    discord: DiscordDouble,
    redis: RedisServer,
    connection: { readonly truth: ScriptedRedis; readonly keys: string },
  ) {
    const { keys, truth } = connection;
    this.#keys = keys;
    this.discord = discord;
    this.redis = redis;
    this.truth = truth;
    this.worker = new ScriptedWorker(
      truth,
      truth,
      keys === "" ? plainRecords : new Records(KeyRing.parse(keys)),
    );
    this.ada = discord.addUser({ name: "ada" });
    this.bob = discord.addUser({ name: "bob", locale: "de" });
    this.channel = discord.addChannel(discord.addGuild({ name: "Nest" }), { name: "talk" });
    this.#modelDirectory = mkdtempSync(join(tmpdir(), "eyrie-model-"));
    const card = { format: 1, name: "scripted", sampling: { temperature: 0.5 } };
    writeFileSync(join(this.#modelDirectory, "model.json"), JSON.stringify(card));
  }

  /** `empty`: without a gateway; `keys`: what EYRIE_KEYS is set to. */
  static async open(
    options: {
      readonly empty?: boolean;
      readonly double?: Partial<DoubleOptions>;
      readonly keys?: string;
      readonly redis?: RedisSettings;
    } = {},
  ): Promise<Stage> {
    const redis = await RedisServer.start(options.redis);
    const discord = await DiscordDouble.start({
      identifyWindowMs: 1,
      rateLimits: generousLimits,
      ...options.double,
    });
    const stage = new Stage(discord, redis, {
      truth: await redis.client(),
      keys: options.keys ?? "",
    });
    if (options.empty !== true) await stage.start();
    return stage;
  }

  get conversation(): ConversationId {
    return conversationId(`discord-${this.channel.id}`);
  }

  environment(changes: Record<string, string> = {}): Record<string, string> {
    return {
      REDIS_URL: `unix:${this.redis.url}`,
      STATE_REDIS_URL: `unix:${this.redis.url}`,
      DISCORD_TOKEN: this.discord.token,
      DISCORD_API_URL: this.discord.restUrl,
      EYRIE_MODEL: this.#modelDirectory,
      EYRIE_GATEWAY_PORT: "0",
      EYRIE_KEYS: this.#keys,
      ...changes,
    };
  }

  async start(
    changes: Record<string, string> = {},
    paced: Pick<GatewayOptions, "editIntervalMsMin" | "requestsPerSecondMax"> = {},
  ): Promise<Gateway> {
    const { url } = this.redis;
    const gateway = await startGateway({
      config: loadConfig(this.environment(changes)),
      truthUrl: url,
      stateUrl: url,
      log: this.#log(),
      editIntervalMsMin: editIntervalMs,
      ...paced,
    });
    this.gateway = gateway;
    return gateway;
  }

  async restart(): Promise<void> {
    await this.gateway?.close();
    await this.start();
  }

  async close(): Promise<void> {
    await this.gateway?.close();
    this.truth.disconnect();
    await this.discord.close();
    await this.redis.stop();
    rmSync(this.#modelDirectory, { recursive: true });
  }

  /** Ada mentions the bot. */
  ask(text: string): Message {
    return this.discord.userSays(this.channel, this.ada, text, { mention: true });
  }

  /** Ada asks, the worker answers, Discord shows it; returns the last message of the answer. */
  async exchange(question: string, answer: string): Promise<Message> {
    const trigger = this.ask(question);
    await this.worker.commit(await this.worker.claim(this.conversation), answer);
    await this.waitForEmptyOutbox();
    return this.replyTo(trigger);
  }

  replyTo(trigger: Message): Message {
    const replies = this.discord.botMessages(this.channel);
    const reply = replies.findLast((one) => one.replyTo === trigger);
    if (reply === undefined) throw new Error("no reply");
    return reply;
  }

  /** Tokens that a conversation remembers; the channel's if none is named. */
  async tokens(conversation: ConversationId = this.conversation): Promise<number> {
    return (await this.worker.ledger.logHead(conversation)).tokens;
  }

  /** What truth holds of conversations. */
  async stored(): Promise<string[]> {
    return (await everything(this.truth)).filter((line) => line.startsWith("eyrie:{"));
  }

  /** What stands in the channel from the bot, for everybody, part by part. */
  shown(): string[] {
    const messages = this.discord.botMessages(this.channel);
    return messages.filter(({ ephemeralFor }) => ephemeralFor === null).map(contentOf);
  }

  /** How each connection to Discord began, in order. */
  connections(): unknown[] {
    const lines = this.lines.filter(({ event }) => event === "connected to Discord");
    return lines.map(({ fields }) => fields["how"]);
  }

  async waitForShown(...parts: readonly string[]): Promise<void> {
    await this.discord.waitFor(() => JSON.stringify(this.shown()) === JSON.stringify(parts));
  }

  async waitForEmptyOutbox(): Promise<void> {
    for (let left = 500; (await this.worker.ledger.outbox()).length > 0; left--) {
      if (left === 0) throw new Error("the outbox does not empty");
      await new Promise((done) => setTimeout(done, 10));
    }
  }

  #log(): Log {
    const keep = (event: string, fields: object = {}): void => {
      this.lines.push({ event, fields: { ...fields } });
    };
    return { debug: keep, info: keep, warn: keep, error: keep };
  }
}

export function contentOf(message: Message): string {
  return message.wire.content;
}

/** `custom_id` of the message's only button, or undefined. */
export function buttonOf(message: Message): string | undefined {
  const [row] = message.wire.components as { components: { custom_id: string }[] }[];
  return row?.components[0]?.custom_id;
}

/** Only this person sees it. */
export function isPrivate(message: Message, user: User): boolean {
  return message.ephemeralFor === user.id && (message.wire.flags & MessageFlags.Ephemeral) !== 0;
}
