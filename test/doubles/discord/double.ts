/**
 * The double as tests and the terminal hold it: one server on a loopback port, a world to build,
 * users to act as, and everything the bot did to look at.
 *
 * Errors made by a test (an unknown command, a button that is not there) throw at once; errors made
 * by the bot are answered as Discord answers them and stay in `log`.
 */
import { randomBytes } from "node:crypto";
import { GatewayIntentBits as Intent, PermissionFlagsBits as P } from "discord-api-types/v10";
import type { ChannelType } from "discord-api-types/v10";
import type { FastifyInstance } from "fastify";
import { DoubleClock } from "./clock.ts";
import { Commands } from "./commands.ts";
import { DeliveryFaults, RestFaults } from "./faults.ts";
import { Gateway, gatewayPath, resumePath } from "./gateway/server.ts";
import { IdentifyBudget } from "./gateway/identify.ts";
import { InteractionHandle } from "./handle.ts";
import { Interactions } from "./interactions.ts";
import type { OptionValues } from "./interactions.ts";
import { mentionCount } from "./mentions.ts";
import { Messages } from "./messages.ts";
import type { Message } from "./messages.ts";
import { channelRoutes } from "./rest/channels.ts";
import { commandRoutes } from "./rest/commands.ts";
import type { RestContext } from "./rest/context.ts";
import { applicationWire, Grants, identityRoutes } from "./rest/identity.ts";
import { interactionRoutes } from "./rest/interactions.ts";
import { RequestLog } from "./rest/log.ts";
import { messageRoutes } from "./rest/messages.ts";
import { RateLimits } from "./rest/ratelimit.ts";
import type { RateLimitOptions } from "./rest/ratelimit.ts";
import { routeName } from "./rest/request.ts";
import type { Route } from "./rest/request.ts";
import { createRestServer } from "./rest/server.ts";
import { webhookRoutes } from "./rest/webhooks.ts";
import { fileContent } from "./rules/messages.ts";
import { waitUntil } from "./wait.ts";
import { World } from "./world.ts";
import type { Channel, Guild, User } from "./world.ts";

export interface DoubleOptions {
  /** 0 takes any free port. */
  readonly port: number;
  readonly botName: string;
  /** Given, so several runs can share one; otherwise random. */
  readonly token: string;
  /** Privileged intents switched on for the application; MESSAGE_CONTENT is off by default. */
  readonly enabledIntents: number;
  readonly rateLimits: Partial<RateLimitOptions>;
  readonly heartbeatIntervalMs: number;
  readonly identifiesPerDay: number;
  readonly maxConcurrency: number;
  readonly identifyWindowMs: number;
  /** Recommended by `GET /gateway/bot`. */
  readonly shards: number;
  readonly guildsPerShardMax: number;
  readonly sessionMs: number;
  readonly nonceWindowMs: number;
  readonly oldEdits: { readonly limit: number; readonly windowMs: number };
  /** Seed of the random REST faults. */
  readonly seed: number;
}

const defaults: Omit<DoubleOptions, "token"> = {
  port: 0,
  botName: "Eyrie",
  enabledIntents: 0,
  rateLimits: {},
  heartbeatIntervalMs: 41_250,
  identifiesPerDay: 1_000,
  maxConcurrency: 1,
  identifyWindowMs: 5_000,
  shards: 1,
  guildsPerShardMax: 2_500,
  sessionMs: 180_000,
  nonceWindowMs: 180_000,
  // Not published; "3 edits per channel per 20 seconds" is an observation.
  oldEdits: { limit: 3, windowMs: 20_000 },
  seed: 1,
};

const waitMs = 5_000;

export class DiscordDouble {
  readonly clock = new DoubleClock();
  readonly log = new RequestLog();
  readonly grants = new Grants();
  readonly deliveryFaults = new DeliveryFaults();
  readonly restFaults: RestFaults;
  readonly rateLimits: RateLimits;
  readonly world: World;
  readonly commands: Commands;
  readonly gateway: Gateway;
  readonly #options: DoubleOptions;
  readonly #book: Messages;
  readonly #interactions: Interactions;
  readonly #app: FastifyInstance;
  #token: string;
  #port = 0;

  private constructor(options: DoubleOptions) {
    const { clock } = this;
    this.#options = options;
    this.#token = options.token;
    this.world = new World({
      clock,
      publish: (event) => this.gateway.publish(event),
      botName: options.botName,
    });
    this.#book = new Messages(this.world);
    this.commands = new Commands(this.world);
    this.#interactions = new Interactions(this.world, this.commands);
    this.rateLimits = new RateLimits(clock, options.rateLimits);
    const context = this.#context();
    const budget = new IdentifyBudget(clock, {
      perDay: options.identifiesPerDay,
      maxConcurrency: options.maxConcurrency,
      windowMs: options.identifyWindowMs,
    });
    this.gateway = this.#makeGateway(context, budget);
    const routes = this.#routes(context, budget);
    this.restFaults = new RestFaults(new Set(routes.map(routeName)), options.seed);
    this.#app = createRestServer({
      clock,
      routes,
      limits: this.rateLimits,
      faults: this.restFaults,
      log: this.log,
      callerOf: (authorization) => this.#callerOf(authorization),
    });
    this.gateway.attachTo(this.#app.server);
  }

  static async start(options: Partial<DoubleOptions> = {}): Promise<DiscordDouble> {
    const token = options.token ?? "";
    const double = new DiscordDouble({ ...defaults, ...options, token });
    if (token === "") double.resetToken();
    const address = await double.#app.listen({ host: "127.0.0.1", port: double.#options.port });
    double.#port = Number(new URL(address).port);
    return double;
  }

  async close(): Promise<void> {
    this.gateway.close();
    await this.#app.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** For discord.js' `rest: { api }`. */
  get restUrl(): string {
    return `http://127.0.0.1:${this.#port}/api`;
  }

  get gatewayUrl(): string {
    return `ws://127.0.0.1:${this.#port}${gatewayPath}`;
  }

  /** The bot token valid now. */
  get token(): string {
    return this.#token;
  }

  get applicationId(): string {
    return this.world.applicationId;
  }

  get botUser(): User {
    return this.world.bot;
  }

  /** As Discord does when the day's IDENTIFYs are used up. */
  resetToken(): void {
    const id = Buffer.from(this.applicationId).toString("base64url");
    const [stamp, secret] = [randomBytes(4), randomBytes(28)].map((b) => b.toString("base64url"));
    this.#token = `${id}.${stamp}.${secret}`;
  }

  // The world

  addGuild(options: { name: string; preferredLocale?: string; owner?: User }): Guild {
    return this.world.addGuild(options);
  }

  addChannel(guild: Guild, options: { name: string; type?: ChannelType }): Channel {
    return this.world.addChannel(guild, options);
  }

  addUser(options: { name: string; locale?: string }): User {
    return this.world.addUser(options);
  }

  directChannel(user: User): Channel {
    return this.world.directChannel(user);
  }

  /** Takes rights from the bot in one channel, e.g. `P.SendMessages`; 0n gives all back. */
  denyBot(channel: Channel, deny: bigint): void {
    this.world.setOverwrite(channel, { id: this.botUser.id, type: 1, allow: 0n, deny });
  }

  // Acting as a user

  /** `mention` puts the bot's mention first; a reply pings unless `ping` is false. */
  userSays(
    channel: Channel,
    user: User,
    text: string,
    options: { mention?: boolean; replyTo?: string; ping?: boolean } = {},
  ): Message {
    this.#enter(channel, user);
    const replyTo = options.replyTo === undefined ? null : this.#message(options.replyTo);
    return this.#book.post(channel, user, {
      content: options.mention ? `<@${this.botUser.id}> ${text}` : text,
      replyTo,
      allowedMentions: {
        parse: ["users", "roles", "everyone"],
        users: [],
        roles: [],
        repliedUser: options.ping ?? true,
      },
    });
  }

  userEdits(message: Message, text: string): void {
    this.#book.edit(message, { content: text });
  }

  deleteMessage(message: Message): void {
    this.#book.delete(message);
  }

  /** `name` may hold subcommands: "settings language". Throws if the user could not run it. */
  userRunsCommand(
    channel: Channel,
    user: User,
    name: string,
    options: { options?: OptionValues; locale?: string; focused?: string } = {},
  ): InteractionHandle {
    const act = { name, ...options };
    return new InteractionHandle(this.#interactions.run(channel, user, act));
  }

  userUsesMenu(message: Message, user: User, name: string): InteractionHandle {
    return new InteractionHandle(this.#interactions.menu(message, user, name));
  }

  /** A button or, with `values`, a select. */
  userPresses(
    message: Message,
    customId: string,
    user: User,
    values?: string[],
  ): InteractionHandle {
    const act = values ? { user, values } : { user };
    return new InteractionHandle(this.#interactions.press(message, customId, act));
  }

  userSubmits(shown: InteractionHandle, values: Record<string, string>): InteractionHandle {
    return new InteractionHandle(this.#interactions.submit(shown.interaction, values));
  }

  // Looking

  /** What is in a channel now; with `deleted` also what was. Ephemeral messages are among them. */
  messages(channel: Channel, options: { deleted?: boolean } = {}): readonly Message[] {
    const all = this.#book.in(channel.id);
    return options.deleted ? all : all.filter((message) => message.deletedAtMs === null);
  }

  botMessages(channel: Channel): readonly Message[] {
    return this.messages(channel).filter((message) => message.author.id === this.botUser.id);
  }

  waitFor<T>(probe: () => T | false | null | undefined, timeoutMs = waitMs): Promise<T> {
    return waitUntil(
      probe,
      timeoutMs,
      () => `${probe.toString()}; last requests:\n${this.#lastRequests()}`,
    );
  }

  /** The bot's first message in a channel that satisfies `test`, whatever version. */
  waitForReply(
    channel: Channel,
    test: (message: Message) => boolean = () => true,
    timeoutMs = waitMs,
  ): Promise<Message> {
    return this.waitFor(() => this.botMessages(channel).find(test), timeoutMs);
  }

  /** What was uploaded as a message's attachment, by its place. */
  fileOf(message: Message, index = 0): Buffer {
    const attachment: { [fileContent]?: Buffer } | undefined = message.wire.attachments[index];
    const content = attachment?.[fileContent];
    if (content === undefined) throw new Error(`message ${message.id} has no file ${index}`);
    return content;
  }

  /** Each time a bot message reached somebody, on create and on every edit. */
  get pings(): Messages["pings"] {
    return this.#book.pings;
  }

  counters() {
    return {
      ...this.gateway.counters,
      requests: this.log.total,
      rateLimited: this.log.countStatus(429),
      invalidRequests: this.rateLimits.invalidTotal,
      mentionsDelivered: this.pings.reduce((sum, ping) => sum + mentionCount(ping), 0),
    };
  }

  #lastRequests(): string {
    const last = this.log.entries().slice(-10);
    return last.map(({ method, path, status }) => `  ${status} ${method} ${path}`).join("\n");
  }

  #message(id: string): Message {
    const message = this.#book.find(id);
    if (!message) throw new Error(`no message ${id}`);
    return message;
  }

  #enter(channel: Channel, user: User): void {
    if (channel.guildId === null) return;
    const guild = this.world.guild(channel.guildId);
    if (!guild.members.has(user.id)) this.world.join(guild, user);
  }

  #callerOf(authorization: string): { kind: "bot" | "user"; user: User } | null {
    const [scheme, token = ""] = authorization.split(" ");
    if (scheme === "Bot" && token === this.#token) return { kind: "bot", user: this.botUser };
    const user = scheme === "Bearer" ? this.grants.userOf(token) : null;
    return user ? { kind: "user", user } : null;
  }

  #context(): RestContext {
    const { nonceWindowMs, oldEdits, enabledIntents } = this.#options;
    return {
      world: this.world,
      messages: this.#book,
      interactions: this.#interactions,
      commands: this.commands,
      nonceWindowMs,
      oldEdits,
      seesContent: () => (enabledIntents & Intent.MessageContent) !== 0,
    };
  }

  #routes(context: RestContext, budget: IdentifyBudget): Route[] {
    const gatewayInfo = () => ({
      url: this.gatewayUrl,
      shards: this.#options.shards,
      session_start_limit: budget.limit(),
    });
    return [
      ...messageRoutes(context),
      ...channelRoutes(context),
      ...commandRoutes(context),
      ...interactionRoutes(context),
      ...webhookRoutes(context),
      ...identityRoutes({ context, grants: this.grants, gatewayInfo }),
    ];
  }

  #makeGateway(context: RestContext, budget: IdentifyBudget): Gateway {
    const { heartbeatIntervalMs, sessionMs, guildsPerShardMax, enabledIntents } = this.#options;
    return new Gateway({
      clock: this.clock,
      world: this.world,
      faults: this.deliveryFaults,
      budget,
      rules: {
        heartbeatIntervalMs,
        sendsMax: 120,
        sendsWindowMs: 60_000,
        payloadBytesMax: 4_096,
      },
      sessionMs,
      guildsPerShardMax,
      isToken: (token) => token === this.#token || token === `Bot ${this.#token}`,
      resetToken: () => this.resetToken(),
      enabledIntents: () => enabledIntents,
      applicationFlags: () => applicationWire(context).flags,
      resumeUrl: () => `ws://127.0.0.1:${this.#port}${resumePath}`,
    });
  }
}

/** Permission bits, for `denyBot`. */
export { P as Permission };
