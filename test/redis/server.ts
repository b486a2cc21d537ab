/**
 * A real redis-server for a test: its own folder and configuration file, a Unix socket, gone when the
 * test ends. Safe unless the test asks for something else.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectRedis } from "#infra/redis/client.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";

/** Lines of redis.conf by directive. */
export type RedisSettings = Readonly<Record<string, string>>;

const safe: RedisSettings = {
  port: "0",
  appendonly: "yes",
  appendfsync: "always",
  maxmemory: "1gb",
  "maxmemory-policy": "noeviction",
  save: '""',
};

export class RedisServer {
  readonly url: string;
  readonly file: string;
  readonly #directory: string;
  #process: ChildProcess;

  private constructor(directory: string, settings: RedisSettings) {
    this.#directory = directory;
    this.url = join(directory, "redis.sock");
    this.file = join(directory, "redis.conf");
    const lines = Object.entries({ unixsocket: this.url, dir: directory, ...safe, ...settings });
    writeFileSync(this.file, lines.map((line) => `${line.join(" ")}\n`).join(""));
    this.#process = this.#spawn();
  }

  static async start(settings: RedisSettings = {}): Promise<RedisServer> {
    const directory = mkdtempSync(join(tmpdir(), "eyrie-redis-"));
    const server = new RedisServer(directory, settings);
    await server.ready();
    return server;
  }

  async ready(): Promise<void> {
    const client = await this.client();
    client.disconnect();
  }

  /** A connected client; the test disconnects it. */
  async client(): Promise<ScriptedRedis> {
    return connectRedis(this.url);
  }

  /** As a power cut would: no chance to write anything more. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async restart(): Promise<void> {
    this.#process = this.#spawn();
    await this.ready();
  }

  async stop(): Promise<void> {
    await this.#end("SIGTERM");
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((done) => this.#process.once("exit", done));
    this.#process.kill(signal);
    await gone;
  }

  #spawn(): ChildProcess {
    const child = spawn("redis-server", [this.file], { stdio: "ignore" });
    // A test that is cut off leaves nothing running either.
    const kill = (): boolean => child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.removeListener("exit", kill));
    return child;
  }
}
