/** A real redis-server for a test: its own folder, a Unix socket, gone when the test ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectRedis } from "#infra/redis/client.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";

export class RedisServer {
  readonly url: string;
  readonly #directory: string;
  #process: ChildProcess;

  private constructor(directory: string, url: string) {
    this.#directory = directory;
    this.url = url;
    this.#process = this.#spawn();
  }

  static async start(): Promise<RedisServer> {
    const directory = mkdtempSync(join(tmpdir(), "eyrie-redis-"));
    const server = new RedisServer(directory, join(directory, "redis.sock"));
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
    const settings = [
      ["--port", "0"],
      ["--unixsocket", this.url],
      ["--dir", this.#directory],
      ["--appendonly", "yes"],
      ["--appendfsync", "always"],
      ["--maxmemory-policy", "noeviction"],
      ["--save", ""],
    ].flat();
    const child = spawn("redis-server", settings, { stdio: "ignore" });
    // A test that is cut off leaves nothing running either.
    const kill = (): boolean => child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.removeListener("exit", kill));
    return child;
  }
}
