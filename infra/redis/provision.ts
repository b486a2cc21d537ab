/**
 * Finds or starts the Redis that a role needs. In this order: the URL that was given; a
 * `redis-server` or `valkey-server` on PATH; Debian's package, unpacked into our own folder
 * (nothing on the system changes); a server written in JavaScript, which forgets everything at the
 * end and is refused in production. When none of them can be had: REDIS_NOT_FOUND.
 *
 * What we start listens on a Unix socket (mode 700) under the data directory, or where such a path
 * would be too long on 127.0.0.1 with a random password. It ends with us, `kill -9` included.
 * A server that is there but cannot be used is REDIS_UNAVAILABLE and never a reason to go on to the
 * next way: its data would be out of sight.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { EyrieError } from "#infra/errors/error.ts";
import { findServer } from "./provision/binary.ts";
import { unpackDebianServer } from "./provision/debian.ts";
import { ping } from "./provision/ping.ts";
import { type ProvisionLog, type RedisRole, type Server, startServer } from "./provision/server.ts";
import { writeSettings } from "./provision/settings.ts";

export type RedisKind = "url" | "binary" | "debian" | "javascript";

export interface ProvisionedRedis {
  /** As in `address.ts`. */
  readonly url: string;
  readonly kind: RedisKind;
  /** Whether what was written outlives the server; for a given URL, its owner must see to that. */
  readonly durable: boolean;
  /** Stops a server that we started and waits for it; does nothing to somebody else's. */
  stop(): Promise<void>;
}

export interface ProvisionOptions {
  readonly role: RedisRole;
  readonly url?: string | undefined;
  /** Absolute; usually `.eyrie` in the checkout. Data goes to `redis/<role>` below it. */
  readonly dataDirectory: string;
  readonly log: ProvisionLog;
  readonly production?: boolean;
  /** Folders to look for programs in, as in PATH. */
  readonly searchPath?: string;
  /** How long a given URL may take to answer: in a fleet its server may only just be starting. */
  readonly patienceMs?: number;
  /** Ways that may be tried; all by default. */
  readonly kinds?: readonly RedisKind[];
}

const patienceMsDefault = 10_000;
const pollMs = 250;
const allKinds: readonly RedisKind[] = ["url", "binary", "debian", "javascript"];

export async function provisionRedis(options: ProvisionOptions): Promise<ProvisionedRedis> {
  const { role, dataDirectory, log } = options;
  const searchPath = options.searchPath ?? process.env["PATH"] ?? "";
  const production = options.production ?? process.env["NODE_ENV"] === "production";
  const kinds = options.kinds ?? allKinds;
  if (options.url !== undefined && kinds.includes("url")) {
    return useGiven(options.url, role, options.patienceMs ?? patienceMsDefault);
  }
  const directory = join(dataDirectory, "redis", role);
  if (kinds.includes("binary")) {
    const binary = await findServer(searchPath, log);
    if (binary !== undefined) {
      return own("binary", await startBinary(binary, { role, directory, log }));
    }
  }
  if (kinds.includes("debian")) {
    const binary = await unpackDebianServer(join(dataDirectory, "redis-debian"), {
      searchPath,
      log,
    });
    if (binary !== undefined) {
      return own("debian", await startBinary(binary, { role, directory, log }));
    }
  }
  if (kinds.includes("javascript") && !production) {
    return own("javascript", await startJavascript({ role, directory, log }));
  }
  throw new EyrieError("REDIS_NOT_FOUND", { role });
}

interface Place {
  readonly role: RedisRole;
  readonly directory: string;
  readonly log: ProvisionLog;
}

function own(kind: RedisKind, server: Server): ProvisionedRedis {
  return { url: server.url, kind, durable: kind !== "javascript", stop: () => server.stop() };
}

function startBinary(binary: string, { role, directory, log }: Place): Promise<Server> {
  return startServer({
    role,
    directory,
    log,
    command: async (address) => [binary, await writeSettings(role, directory, address)],
  });
}

function startJavascript({ role, directory, log }: Place): Promise<Server> {
  log.warn(
    `no Redis found: the ${role} role runs on a JavaScript stand-in. ` +
      "Everything in it is LOST when it ends; install redis-server or set REDIS_URL to keep it",
  );
  const program = fileURLToPath(new URL("provision/javascript.ts", import.meta.url));
  return startServer({
    role,
    directory,
    log,
    command: async (address) => [process.execPath, program, JSON.stringify(address)],
  });
}

async function useGiven(
  url: string,
  role: RedisRole,
  patienceMs: number,
): Promise<ProvisionedRedis> {
  const deadlineMs = Date.now() + patienceMs;
  for (;;) {
    const answer = await ping(url);
    if (answer.kind === "ready") {
      return { url, kind: "url", durable: true, stop: async () => {} };
    }
    if (Date.now() > deadlineMs) {
      throw new EyrieError(
        "REDIS_UNAVAILABLE",
        { role, reason: answer.kind === "loading" ? "still loading" : answer.reason },
        { cause: answer },
      );
    }
    await sleep(pollMs);
  }
}
