/**
 * Connections to the two Redis roles.
 *
 * `truth` holds what must not be lost (mailbox, lease, log, ledger, queues); `state` holds what can
 * be recomputed or missed (snapshots, live). Commands wait for a connection instead of failing, so
 * a restart of Redis is a pause; the first connection, however, must succeed within `connectMsMax`
 * or the caller gets REDIS_UNAVAILABLE.
 */
import type { Redis, RedisOptions } from "ioredis";
import { EyrieError } from "#infra/errors/error.ts";
import { createClient } from "./address.ts";
import { defineScripts, type ScriptedRedis } from "./scripts.ts";

const connectMsMax = 5_000;
const reconnectMsMax = 1_000;

const baseOptions = {
  lazyConnect: true,
  // BullMQ's blocking connections demand it, and a turn must survive a restart of Redis.
  maxRetriesPerRequest: null,
  enableReadyCheck: true,
  keepAlive: 5_000,
  retryStrategy: (tries: number) => Math.min(50 * tries, reconnectMsMax),
} satisfies RedisOptions;

/** Whether this is what a command ends with after `commandMsMax`. */
export function isUnanswered(error: unknown): boolean {
  return error instanceof Error && error.message === "Command timed out";
}

/** Whether this is what a command ends with that waited when we closed its connection. */
export function isClosed(error: unknown): boolean {
  return error instanceof Error && error.message === "Connection is closed.";
}

const refusals =
  /\b(?:OOM|MISCONF|NOREPLICAS|NOSCRIPT|EXECABORT|CLUSTERDOWN|TRYAGAIN|READONLY|MASTERDOWN)\b/;

/**
 * Why a server takes no writes now: memory, disk or replicas are lacking, or it follows another. Null
 * for any other error.
 * `NOSCRIPT` gets through to us only where a script could not be sent in full, for that is a write, too;
 * `EXECABORT` is what a transaction ends with when one of its writes is refused.
 */
export function refusesWrites(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  return refusals.exec(error.message)?.[0] ?? null;
}

export interface ConnectOptions {
  /**
   * A command that has no answer after this fails, see {@link isUnanswered}; it may have been carried
   * out. For a server that one can do without. Without it a restart of the server is a pause.
   */
  readonly commandMsMax?: number;
}

/** A connected client with our scripts defined. The caller closes it with `quit()`. */
export async function connectRedis(
  url: string,
  options: ConnectOptions = {},
): Promise<ScriptedRedis> {
  const { commandMsMax } = options;
  const commandTimeout = commandMsMax === undefined ? {} : { commandTimeout: commandMsMax };
  const client = createClient(url, { ...baseOptions, ...commandTimeout });
  let lastError: unknown = new Error("timed out");
  client.on("error", (error) => {
    // ioredis reconnects by itself; the last reason is kept for the message below.
    lastError = error;
  });
  // Not events.once: that gives up at the first error, and errors are what it retries through.
  const ready = Promise.withResolvers<void>();
  const patience = setTimeout(ready.reject, connectMsMax);
  client.once("ready", ready.resolve);
  client.connect().catch(() => {
    // It goes on trying; a Redis that is just starting is a pause, too.
  });
  try {
    await ready.promise;
  } catch {
    client.disconnect();
    throw new EyrieError(
      "REDIS_UNAVAILABLE",
      { url: withoutPassword(url), reason: reasonOf(lastError) },
      { cause: lastError },
    );
  } finally {
    clearTimeout(patience);
  }
  return defineScripts(client);
}

/** Another connection with the same address, for subscriptions and blocking reads. */
export async function duplicateRedis(client: Redis): Promise<Redis> {
  const copy = client.duplicate();
  copy.on("error", () => {
    // Reconnects by itself, as the client it was copied from.
  });
  try {
    await copy.connect();
  } catch (error) {
    copy.disconnect();
    throw error;
  }
  return copy;
}

/** The server's clock, ms: the only one that machines may compare times by. */
export async function redisTimeMs(client: Redis): Promise<number> {
  const [seconds, microseconds] = await client.time();
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function withoutPassword(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//***@");
}
