/**
 * The gateway: Discord in, Discord out. Owns no state: what it knows is in truth, so it may be
 * killed at any moment and the next one goes on in the same messages. See README.md.
 */
import { DiscordAPIError, REST, RESTEvents, Routes } from "discord.js";
import { type Clock, systemClock, within } from "#infra/clock/clock.ts";
import type { Config } from "#infra/config/config.ts";
import { readModelCard } from "#infra/config/model-card.ts";
import { Conversations } from "#infra/conversation/conversations.ts";
import { OpenReplies } from "#infra/discord/open-replies.ts";
import { PendingForks } from "#infra/discord/pending-forks.ts";
import { SessionStore } from "#infra/discord/session-store.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { loadTranslator, type Translator } from "#infra/i18n/i18n.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { LiveSubscriber } from "#infra/live/live.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { batchWrites } from "#infra/redis/batching.ts";
import { connectRedis, duplicateRedis } from "#infra/redis/client.ts";
import { openRecords, type Records } from "#infra/redis/records.ts";
import { hasSuccessors, whenReplaced } from "#infra/redis/address.ts";
import { Replication } from "#infra/redis/replication.ts";
import { assertSafe } from "#infra/redis/safety.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { createMetrics, serveHealth } from "#infra/telemetry/health.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import { WakeBell } from "#infra/wake/wake.ts";
import { Interactions } from "./commands/interactions.ts";
import { announceCommands } from "./commands/registry.ts";
import { Buttons } from "./commands/buttons.ts";
import { Forks } from "./commands/forks.ts";
import { Connection, type Identity, identify } from "./connection.ts";
import { Intake } from "./intake/intake.ts";
import { Lanes } from "./intake/lanes.ts";
import { Locales } from "./intake/locales.ts";
import { NoticeLimit } from "./intake/notice-limit.ts";
import { putBack } from "./intake/submit.ts";
import { Tail } from "./intake/tail.ts";
import { type GatewayMetrics, gatewayMetrics } from "./metrics.ts";
import { Pacer, requestsPerSecondMax } from "./render/pacer.ts";
import { Renders } from "./render/renders.ts";

/** How long a closing gateway waits for turns on their way into a mailbox, … */
const drainMsMax = 3_000;
/** … and for each of its rooms. */
const closeMsMax = 8_000;

export interface GatewayOptions {
  readonly config: Config;
  readonly truthUrl: string;
  readonly stateUrl: string;
  readonly log: Log;
  /** Closes the gateway. */
  readonly signal?: AbortSignal;
  /** Shortest time between two edits of a reply; tests shorten it. */
  readonly editIntervalMsMin?: number;
  /** Of the whole bot; by default what Discord's 50 leave room for. */
  readonly requestsPerSecondMax?: number;
}

export interface Gateway {
  /** Of the health pages. */
  readonly port: number;
  /** Rejects when Discord refuses us for good while running (token reset, intents revoked). */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

/** Resolves when Discord has said READY or RESUMED; rejects with an {@link EyrieError}. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const closers: (() => Promise<unknown>)[] = [];
  let closed: Promise<void> | null = null;
  const closing = new AbortController();
  const close = async (): Promise<void> => {
    closing.abort();
    return (closed ??= closeAll(closers, options.log));
  };
  const failure = Promise.withResolvers<never>();
  // Whoever does not wait for it need not hear of it.
  failure.promise.catch(() => undefined);
  try {
    const port = await open(options, {
      onClose: (closer) => closers.push(closer),
      onFatal: failure.reject,
      closing: closing.signal,
    });
    options.signal?.throwIfAborted();
    options.signal?.addEventListener("abort", () => void close(), { once: true });
    return { port, failed: failure.promise, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Opens everything in order and leaves behind how to close it, in the opposite order. */
async function open(
  options: GatewayOptions,
  hooks: {
    readonly onClose: (closer: () => Promise<unknown>) => void;
    readonly onFatal: (error: EyrieError) => void;
    readonly closing: AbortSignal;
  },
): Promise<number> {
  const { config, log } = options;
  const { closing, onClose, onFatal } = hooks;
  const token = config.DISCORD_TOKEN;
  if (token === undefined) {
    throw new EyrieError("CONFIG_INVALID", { key: "DISCORD_TOKEN", reason: "not set" });
  }
  const model = await readModelCard(config.EYRIE_MODEL);
  const translator = await loadTranslator();
  const truth = await connectRedis(options.truthUrl);
  onClose(async () => truth.quit());
  const records = await openRecords(config, truth);
  const state = await connectRedis(options.stateUrl);
  onClose(async () => state.quit());
  const production = config.EYRIE_PROFILE === "production";
  await assertSafe({ truth, state }, { production, log });
  const listening = await duplicateRedis(state);
  onClose(async () => listening.quit());
  for (const client of [truth, state, listening]) batchWrites(client);
  const replication = new Replication(truth, { expected: hasSuccessors(options.truthUrl) });
  onClose(async () => replication.close());
  const bell = new WakeBell(truth);
  onClose(async () => bell.close());
  const conversations = new Conversations({ truth, state }, bell, records);

  const rest = new REST({
    api: config.DISCORD_API_URL,
    version: "10",
    globalRequestsPerSecond: options.requestsPerSecondMax ?? requestsPerSecondMax,
  }).setToken(token);
  onClose(async () => {
    rest.clearHashSweeper();
    rest.clearHandlerSweeper();
  });
  const identity = await identify(rest, systemClock, config.DISCORD_API_URL);

  const registry = createMetrics();
  const metrics = gatewayMetrics(registry, { openReplies: () => renders.size });
  countRateLimits(rest, metrics);
  keepToken(rest, token, { log, onFatal });
  const shared = { ...identity, config, rest, token, truth, translator, log, metrics, records };
  const rooms = {
    mailbox: new Mailbox(truth, records),
    ledger: new Ledger(truth, records),
    replication,
    bell,
    conversations,
    model,
  };
  const live = new LiveSubscriber(listening, records);
  const tail = new Tail(systemClock);
  const { buttons, renders } = outbound({ ...shared, ...rooms, live, tail }, options);
  const {
    forks,
    intake,
    lanes,
    putBack: putLostBack,
  } = inbound({
    ...shared,
    ...rooms,
    buttons,
    renders,
    tail,
  });
  const sessions = new SessionStore(truth, {
    applicationId: identity.applicationId,
    clock: systemClock,
    onError: (error) => log.warn("session not kept", errorFields(error)),
  });

  let connection: Connection | null = null;
  const health = await serveHealth({
    host: config.EYRIE_HTTP_HOST,
    port: config.EYRIE_GATEWAY_PORT,
    metrics: registry,
    readiness: () => readiness(connection, truth, closing),
  });
  onClose(async () => health.close());
  onClose(async () => renders.close());
  await renders.start();
  await announce(shared);
  connection = await Connection.open({
    ...shared,
    url: config.DISCORD_API_URL,
    sessions,
    clock: systemClock,
    onEvent: async (event, missedSince) => intake.handle(event, missedSince),
    onFatal,
  });
  onClose(async () => {
    await connection?.close();
    await within(systemClock, drainMsMax, lanes.idle());
    await within(systemClock, drainMsMax, sessions.flush());
  });
  whenReplaced(truth, () => {
    putLostBack().catch((error: unknown) => log.error("turns not put back", errorFields(error)));
    renders.lookAgain();
  });
  // Not waited for: what is pending may wait for Discord, and new orders need not.
  forks.resume().catch((error: unknown) => log.warn("forks not read", errorFields(error)));
  return health.port;
}

interface Shared extends Identity {
  readonly config: Config;
  readonly rest: REST;
  readonly token: string;
  readonly truth: ScriptedRedis;
  readonly records: Records;
  readonly translator: Translator;
  readonly log: Log;
  readonly metrics: GatewayMetrics;
  readonly mailbox: Mailbox;
  readonly ledger: Ledger;
}

/** Ledger and live → Discord. */
function outbound(
  parts: Shared & {
    readonly live: LiveSubscriber;
    readonly replication: Replication;
    readonly tail: Tail;
  },
  pace: Pick<GatewayOptions, "editIntervalMsMin" | "requestsPerSecondMax">,
): { readonly renders: Renders; readonly buttons: Buttons } {
  const clock: Clock = systemClock;
  const buttons = new Buttons(parts.token);
  const streams = (): number => renders.size;
  const pacer = new Pacer({ clock, streams, ...pace });
  const openReplies = new OpenReplies(parts.truth, parts.applicationId, parts.records);
  const renders = new Renders({ ...parts, openReplies, pacer, clock, buttons });
  return { renders, buttons };
}

/** Discord → mailbox. */
function inbound(
  parts: Shared & {
    readonly bell: WakeBell;
    readonly conversations: Conversations;
    readonly model: Awaited<ReturnType<typeof readModelCard>>;
    readonly buttons: Buttons;
    readonly renders: Renders;
    readonly tail: Tail;
  },
): {
  readonly intake: Intake;
  readonly lanes: Lanes;
  readonly forks: Forks;
  readonly putBack: () => Promise<void>;
} {
  const { config, translator } = parts;
  const lanes = new Lanes();
  const locales = new Locales(translator, config.EYRIE_LOCALE);
  const replyTokensMax = config.EYRIE_REPLY_TOKENS_MAX;
  const pendingForks = new PendingForks(parts.truth, parts.applicationId, parts.records);
  const forks = new Forks({ ...parts, pendingForks, clock: systemClock });
  const submitting = {
    ...parts,
    lanes,
    locales,
    replyTokensMax,
    forks,
    clock: systemClock,
  };
  const interactions = new Interactions(submitting);
  const notices = new NoticeLimit(systemClock);
  let runs = 0;
  return {
    intake: new Intake({ ...submitting, notices, interactions }),
    lanes,
    forks,
    putBack: async () => {
      const run = ++runs;
      await putBack(submitting, () => run === runs);
    },
  };
}

/** Old commands are better than no gateway: the next start tries again. */
async function announce(
  parts: Pick<Shared, "applicationId" | "log" | "rest" | "translator" | "truth">,
): Promise<void> {
  try {
    const told = await announceCommands(parts, parts.applicationId);
    parts.log.info(told ? "commands registered" : "commands unchanged");
  } catch (error) {
    parts.log.warn("commands not registered", errorFields(error));
  }
}

function countRateLimits(rest: REST, metrics: GatewayMetrics): void {
  rest.on(RESTEvents.Response, (_request, response) => {
    if (response.status !== 429) return;
    const scope = response.headers.get("x-ratelimit-scope") ?? "unknown";
    metrics.rateLimited.inc({ scope });
  });
}

/**
 * After one 401 the library has no token any more. Whether ours is refused is asked once again: either
 * the token is set again, or the process ends by name.
 */
function keepToken(
  rest: REST,
  token: string,
  { log, onFatal }: { readonly log: Log; readonly onFatal: (error: EyrieError) => void },
): void {
  let asking = false;
  const ask = async (): Promise<void> => {
    asking = true;
    const refused = await isRefused(rest, token);
    asking = false;
    if (refused) return onFatal(new EyrieError("DISCORD_TOKEN_INVALID"));
    // Behind the library, should it be dropping the token for another request just now.
    await systemClock.sleep(0);
    rest.setToken(token);
    log.warn("a request was refused with 401, though the token is valid");
  };
  rest.on(RESTEvents.Response, ({ data }, { status }) => {
    if (status === 401 && data.auth !== false && !asking) void ask();
  });
}

/** Asked without the library's token, which is gone. */
async function isRefused(rest: REST, token: string): Promise<boolean> {
  try {
    await rest.get(Routes.user(), { auth: false, headers: { Authorization: `Bot ${token}` } });
    return false;
  } catch (error) {
    // Any other failure says nothing: the next 401 asks again.
    return error instanceof DiscordAPIError && error.status === 401;
  }
}

function readiness(
  connection: Connection | null,
  truth: ScriptedRedis,
  closing: AbortSignal,
): { readonly ready: boolean; readonly reason?: string } {
  if (closing.aborted) return { ready: false, reason: "draining" };
  if (truth.status !== "ready") return { ready: false, reason: "truth Redis" };
  return connection?.ready === true ? { ready: true } : { ready: false, reason: "Discord" };
}

async function closeAll(closers: (() => Promise<unknown>)[], log: Log): Promise<void> {
  for (const closer of closers.toReversed()) {
    try {
      // A Redis that is away answers no goodbye either.
      await within(systemClock, closeMsMax, closer());
    } catch (error) {
      log.warn("not closed cleanly", errorFields(error));
    }
  }
}
