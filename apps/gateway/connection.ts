/**
 * The gateway connection to Discord: @discordjs/ws with sessions that outlive the process.
 *
 * Promises: a restarted process RESUMEs and is told every event that was not handled; what cannot be
 * mended by trying again (bad token, refused intents) ends in one named error, at start or later.
 * After opcode 9 `false` Discord has forgotten the session: the library identifies afresh, and what
 * was said in between is looked up (intake/backfill.ts).
 */
import { CloseCodes, WebSocketManager, WebSocketShardEvents } from "@discordjs/ws";
import {
  DiscordAPIError,
  GatewayCloseCodes,
  GatewayDispatchEvents,
  type GatewayDispatchPayload,
  GatewayIntentBits,
  type REST,
  type RESTGetAPICurrentUserResult,
  type RESTGetCurrentApplicationResult,
  Routes,
} from "discord.js";
import type { Clock } from "#infra/clock/clock.ts";
import type { SessionStore } from "#infra/discord/session-store.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";

/** Enough for mentions, ping-replies, direct messages and commands; none of them is privileged. */
const intents =
  GatewayIntentBits.Guilds | GatewayIntentBits.GuildMessages | GatewayIntentBits.DirectMessages;

const connectMsMax = 30_000;
const retryMsMin = 500;
const closeMsMax = 2_000;
/** Communities that are told of so soon after a session began are those that we were in before. */
const beginningMs = 60_000;

export interface Identity {
  readonly applicationId: string;
  /** The bot's user id; on old applications it differs from the application's. */
  readonly selfId: string;
}

/** Who we are, by the token. Tries for `connectMsMax`. */
export async function identify(rest: REST, clock: Clock, url: string): Promise<Identity> {
  const startedMs = clock.monotonicMs();
  // A server that takes requests and says nothing would hold each for a minute.
  const signal = AbortSignal.timeout(connectMsMax);
  for (let retryMs = retryMsMin; ; retryMs *= 2) {
    try {
      const application = await rest.get(Routes.currentApplication(), { signal });
      const user = await rest.get(Routes.user(), { signal });
      return {
        applicationId: (application as RESTGetCurrentApplicationResult).id,
        selfId: (user as RESTGetAPICurrentUserResult).id,
      };
    } catch (error) {
      const status = error instanceof DiscordAPIError ? error.status : 0;
      if (status === 401) throw new EyrieError("DISCORD_TOKEN_INVALID", {}, { cause: error });
      const hopeless = status >= 400 && status < 500;
      if (hopeless || clock.monotonicMs() - startedMs + retryMs > connectMsMax) {
        throw unreachable(url, reasonOf(error), error);
      }
      await clock.sleep(retryMs);
    }
  }
}

export interface ConnectionOptions {
  readonly rest: REST;
  readonly token: string;
  readonly url: string;
  readonly sessions: SessionStore;
  readonly clock: Clock;
  readonly log: Log;
  /**
   * Resolves when the event is handled. `missedSince`: the last message that is known to be handled,
   * while a session is so young that others may have been said to nobody; else null.
   */
  readonly onEvent: (event: GatewayDispatchPayload, missedSince: string | null) => Promise<void>;
  /** The connection has ended for good after a good start. */
  readonly onFatal: (error: EyrieError) => void;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #manager: WebSocketManager;
  readonly #up = new Set<number>();
  /** Monotonic ms when the newest session, or this process, began. */
  #beganMs: number;
  #fatal: (error: EyrieError) => void;

  private constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#fatal = options.onFatal;
    this.#beganMs = options.clock.monotonicMs();
    const { rest, sessions, token } = options;
    this.#manager = new WebSocketManager({
      rest,
      token,
      intents,
      retrieveSessionInfo: async (shardId) => sessions.retrieve(shardId),
      updateSessionInfo: (shardId, session) => sessions.update(shardId, session),
    });
    this.#listen();
  }

  /** A connection that is ready, or DISCORD_TOKEN_INVALID, _INTENT_MISSING, _UNREACHABLE. */
  static async open(options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(options);
    try {
      await connection.#connect();
    } catch (error) {
      await connection.close();
      throw error;
    }
    connection.#fatal = options.onFatal;
    return connection;
  }

  get ready(): boolean {
    return this.#up.size > 0;
  }

  /** Drops the connection but keeps the session; close codes 1000 and 1001 would end it. */
  async close(): Promise<void> {
    const { clock, sessions } = this.#options;
    sessions.freeze();
    const closed = this.#manager.destroy({ code: CloseCodes.Resuming, reason: "restarting" });
    const done = new AbortController();
    const finished = Promise.resolve(closed).finally(() => done.abort());
    await Promise.race([finished, clock.sleep(closeMsMax, done.signal)]);
    this.#up.clear();
  }

  async #connect(): Promise<void> {
    const { clock, url } = this.#options;
    const settled = new AbortController();
    const refused = new Promise<never>((_, reject) => {
      this.#fatal = reject;
    });
    const tooLate = clock.sleep(connectMsMax, settled.signal).then(() => {
      throw unreachable(url, "no answer from the gateway");
    });
    tooLate.catch(() => undefined);
    refused.catch(() => undefined);
    const connected = this.#manager.connect().catch(async (error: unknown) => {
      // A refusal by close code also fails the connect: its own name comes first.
      await Promise.race([refused, clock.sleep(0)]);
      throw unreachable(url, reasonOf(error), error);
    });
    try {
      await Promise.race([connected, refused, tooLate]);
    } finally {
      settled.abort();
    }
  }

  #listen(): void {
    const { clock, log, onEvent, sessions } = this.#options;
    const manager = this.#manager;
    manager.on(WebSocketShardEvents.Dispatch, ({ data, shardId }) => {
      if (data.t === GatewayDispatchEvents.Ready) this.#beganMs = clock.monotonicMs();
      const messageId = data.t === GatewayDispatchEvents.MessageCreate ? data.d.id : null;
      const handled = sessions.seen(shardId, data.s, messageId);
      const young = clock.monotonicMs() - this.#beganMs < beginningMs;
      onEvent(data, young ? sessions.missedSince(shardId) : null)
        .catch((error: unknown) => {
          log.error("event not handled", { event: data.t, ...errorFields(error) });
        })
        .finally(handled);
    });
    manager.on(WebSocketShardEvents.Ready, ({ shardId }) => this.#isUp(shardId, "identified"));
    manager.on(WebSocketShardEvents.Resumed, ({ shardId }) => this.#isUp(shardId, "resumed"));
    manager.on(WebSocketShardEvents.Closed, ({ code, shardId }) => {
      this.#up.delete(shardId);
      log.info("gateway connection closed", { shard: shardId, code });
      const error = fatalClose(code, this.#options.url);
      if (error !== null) this.#fatal(error);
    });
    manager.on(WebSocketShardEvents.Error, ({ error, shardId }) => {
      log.warn("gateway connection failed", { shard: shardId, reason: error.message });
    });
  }

  #isUp(shardId: number, how: "identified" | "resumed"): void {
    this.#up.add(shardId);
    this.#options.log.info("connected to Discord", { shard: shardId, how });
  }
}

/** The close codes after which Discord wants no other try. */
function fatalClose(code: number, url: string): EyrieError | null {
  switch (code as GatewayCloseCodes) {
    case GatewayCloseCodes.AuthenticationFailed:
      return new EyrieError("DISCORD_TOKEN_INVALID");
    case GatewayCloseCodes.InvalidIntents:
    case GatewayCloseCodes.DisallowedIntents:
      return new EyrieError("DISCORD_INTENT_MISSING");
    case GatewayCloseCodes.InvalidShard:
    case GatewayCloseCodes.ShardingRequired:
    case GatewayCloseCodes.InvalidAPIVersion:
      return unreachable(url, `close code ${code}`);
    default:
      return null;
  }
}

function unreachable(url: string, reason: string, cause?: unknown): EyrieError {
  return new EyrieError("DISCORD_UNREACHABLE", { url, reason }, { cause });
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  const { cause } = error;
  return cause instanceof Error ? cause.message : error.message;
}
