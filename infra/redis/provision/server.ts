/**
 * One Redis server as a child of ours: start, wait until it serves, restart when it dies, stop.
 *
 * A folder has one server. Whoever comes second uses the first one's server as long as it answers,
 * and waits for it to be gone when it is on its way out. The server runs under guard.sh, in a
 * session of its own: Ctrl-C in the terminal must reach the workers first, and Redis last.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { EyrieError } from "#infra/errors/error.ts";
import { withoutHugePages } from "#infra/setup/malloc.mjs";
import { ping } from "./ping.ts";

/** `truth` waits for the disk at every write, `state` can be rebuilt; DESIGN: two roles. */
export type RedisRole = "truth" | "state";

export interface ProvisionLog {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

export type Address =
  | { readonly kind: "socket"; readonly path: string }
  | { readonly kind: "port"; readonly port: number; readonly password: string };

export interface ServerPlan {
  readonly role: RedisRole;
  /** Data, socket, log and lock; made if it is missing. */
  readonly directory: string;
  readonly log: ProvisionLog;
  /** What to run so that a server listens there. */
  command(address: Address): Promise<readonly string[]>;
}

export interface Server {
  readonly url: string;
  stop(): Promise<void>;
}

/** Room in `sockaddr_un` on Linux, less the closing zero; macOS has four bytes less. */
const socketPathBytesMax = 103;
/** A big log is read back at some 100 MB/s: this is for logs of a few tens of GB. */
const loadMsMax = 300_000;
const takeOverMsMax = 15_000;
const stopMsMax = 15_000;
const pollMs = 20;
const restartDelayMsMin = 100;
const restartDelayMsMax = 10_000;
const logTailCharactersMax = 300;
const guardFd = 3;
/** guard.sh: somebody else's server holds the folder. */
const heldExitCode = 75;
const guard = fileURLToPath(new URL("guard.sh", import.meta.url));

/** What we leave beside the data for a second process to find. */
const recordSchema = z.object({ url: z.string(), starterPid: z.number() });

export async function startServer(plan: ServerPlan): Promise<Server> {
  await mkdir(plan.directory, { recursive: true });
  await chmod(plan.directory, 0o700);
  const deadlineMs = Date.now() + takeOverMsMax;
  const address = await chooseAddress(plan.directory);
  while (Date.now() < deadlineMs) {
    const running = await findRunning(plan);
    if (running !== undefined) return running;
    const server = new SupervisedServer(plan, address);
    if ((await server.start()) === "serving") return server;
    await sleep(pollMs * 5);
  }
  throw new EyrieError("REDIS_UNAVAILABLE", {
    role: plan.role,
    reason: `another server holds ${plan.directory} and does not answer`,
  });
}

async function findRunning({ directory, role, log }: ServerPlan): Promise<Server | undefined> {
  const record = await readRecord(directory);
  if (record === undefined) return undefined;
  const { url, starterPid } = record;
  let answer = await ping(url);
  while (answer.kind === "loading") {
    await sleep(pollMs * 5);
    answer = await ping(url);
  }
  if (answer.kind !== "ready") return undefined;
  log.info(`redis (${role}): using the server that process ${starterPid} runs`);
  return { url, stop: async () => {} };
}

/** A record that cannot be read is as good as none: the lock decides who may start a server. */
async function readRecord(directory: string): Promise<z.infer<typeof recordSchema> | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(recordPath(directory), "utf8")));
  } catch {
    return undefined;
  }
}

function recordPath(directory: string): string {
  return join(directory, "server.json");
}

/** ioredis reads `?` in a path as the start of options; such a folder gets a port as well. */
async function chooseAddress(directory: string): Promise<Address> {
  const path = join(directory, "redis.sock");
  if (Buffer.byteLength(path) <= socketPathBytesMax && !path.includes("?")) {
    return { kind: "socket", path };
  }
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return { kind: "port", port, password: randomBytes(24).toString("hex") };
}

function urlOf(address: Address): string {
  if (address.kind === "socket") return address.path;
  return `redis://:${address.password}@127.0.0.1:${address.port}`;
}

class SupervisedServer implements Server {
  readonly url: string;
  readonly #plan: ServerPlan;
  readonly #address: Address;
  readonly #stopping = new AbortController();
  #child: ChildProcess | undefined;

  constructor(plan: ServerPlan, address: Address) {
    this.#plan = plan;
    this.#address = address;
    this.url = urlOf(address);
  }

  /** Resolves when the server serves, or at once with `held` when another one has the folder. */
  async start(): Promise<"serving" | "held"> {
    const child = await this.#spawn();
    const code = await this.#untilServing(child);
    if (code === heldExitCode) return "held";
    if (code !== undefined) {
      throw new EyrieError("REDIS_UNAVAILABLE", {
        role: this.#plan.role,
        reason: `the server ended with code ${code}: ${await this.#logTail()}`,
      });
    }
    this.#supervise(child);
    return "serving";
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    const child = this.#child;
    if (child === undefined || hasEnded(child)) return;
    const ended = once(child, "exit");
    child.ref();
    tieOf(child).destroy();
    // The guard leads a process group of its own: nothing of it outlives this.
    const lastResort = setTimeout(() => process.kill(-child.pid!, "SIGKILL"), stopMsMax);
    await ended;
    clearTimeout(lastResort);
    await rm(recordPath(this.#plan.directory), { force: true });
  }

  async #spawn(): Promise<ChildProcess> {
    const { directory } = this.#plan;
    const command = await this.#plan.command(this.#address);
    const log = await open(this.#logPath(), "w", 0o600);
    try {
      const child = spawn("/bin/sh", [guard, join(directory, "lock"), ...command], {
        cwd: directory,
        detached: true,
        env: withoutHugePages(process.env),
        stdio: ["ignore", log.fd, log.fd, "pipe"],
      });
      // Neither keeps our process alive: when we have nothing left to do, the server ends with us.
      child.unref();
      tieOf(child).on("error", () => {}); // the guard's end closing is its exit
      (tieOf(child) as Duplex & { unref(): void }).unref();
      this.#child = child;
      return child;
    } finally {
      await log.close();
    }
  }

  /** Undefined once it serves, its exit code if it ended before that. */
  async #untilServing(child: ChildProcess): Promise<number | string | undefined> {
    const startedMs = Date.now();
    while (!hasEnded(child)) {
      const answer = await ping(this.url);
      if (answer.kind === "ready" && !hasEnded(child)) {
        await this.#leaveRecord();
        return undefined;
      }
      if (Date.now() - startedMs > loadMsMax) tieOf(child).destroy();
      await sleep(pollMs);
    }
    return child.exitCode ?? child.signalCode ?? "unknown";
  }

  #supervise(child: ChildProcess): void {
    if (hasEnded(child)) void this.#restart(child);
    else child.once("exit", () => void this.#restart(child));
  }

  /** Tries until it serves again or we are stopped; the pause doubles up to its limit. */
  async #restart(dead: ChildProcess): Promise<void> {
    const { role, log } = this.#plan;
    const { signal } = this.#stopping;
    let code: number | string | undefined = dead.exitCode ?? dead.signalCode ?? "unknown";
    // Closing the tie makes the watching half of a killed guard end the server.
    tieOf(dead).destroy();
    for (let delayMs = restartDelayMsMin; !signal.aborted; delayMs *= 2) {
      log.error(`redis (${role}) ended unexpectedly (${code}): ${await this.#logTail()}`);
      await sleep(Math.min(delayMs, restartDelayMsMax), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      const child = await this.#spawn();
      if (signal.aborted) tieOf(child).destroy();
      code = await this.#untilServing(child);
      if (code !== undefined) continue;
      log.info(`redis (${role}) serves again`);
      this.#supervise(child);
      return;
    }
  }

  async #leaveRecord(): Promise<void> {
    const path = recordPath(this.#plan.directory);
    const record = { url: this.url, starterPid: process.pid };
    await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  #logPath(): string {
    return join(this.#plan.directory, "server.log");
  }

  async #logTail(): Promise<string> {
    const text = await readFile(this.#logPath(), "utf8").catch(() => "");
    return text.trim().slice(-logTailCharactersMax);
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function tieOf(child: ChildProcess): Duplex {
  const tie = child.stdio[guardFd];
  assert(tie !== undefined && tie !== null);
  return tie as Duplex;
}
