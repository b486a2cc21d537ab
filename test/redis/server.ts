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
  /** Of its data. */
  readonly directory: string;
  readonly #home: string;
  #process: ChildProcess;

  private constructor(home: string, settings: RedisSettings) {
    this.#home = home;
    this.url = join(home, "redis.sock");
    this.file = join(home, "redis.conf");
    const all = { unixsocket: this.url, dir: home, ...safe, ...settings };
    this.directory = all.dir;
    const lines = Object.entries(all);
    writeFileSync(this.file, lines.map((line) => `${line.join(" ")}\n`).join(""));
    this.#process = this.#spawn();
  }

  static async start(settings: RedisSettings = {}): Promise<RedisServer> {
    const server = new RedisServer(mkdtempSync(join(tmpdir(), "eyrie-redis-")), settings);
    await server.ready();
    return server;
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
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
    await this.end("SIGKILL");
  }

  /** Deletes its files, as a lost disk would; it must not be running. */
  forget(): void {
    rmSync(join(this.directory, "appendonlydir"), { recursive: true, force: true });
  }

  async restart(): Promise<void> {
    this.#process = this.#spawn();
    await this.ready();
  }

  async stop(): Promise<void> {
    await this.end("SIGTERM");
    rmSync(this.#home, { recursive: true, force: true });
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (!this.running) return;
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
