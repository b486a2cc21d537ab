/** A real redis-server for a test: its own folder, a Unix socket, gone when the test ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectRedis } from "#infra/redis/client.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";

export interface RedisOptions {
  /** Where it keeps its files; otherwise a folder of its own, which goes with it. */
  readonly directory?: string;
  /** Lines of its configuration, after ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** What starts it: a program and its first arguments, before `redis-server`. */
  readonly launcher?: readonly string[];
}

export class RedisServer {
  readonly url: string;
  /** Of its files. */
  readonly directory: string;
  readonly #home: string;
  readonly #options: RedisOptions;
  #process: ChildProcess;

  private constructor(home: string, options: RedisOptions) {
    this.#home = home;
    this.#options = options;
    this.directory = options.directory ?? home;
    this.url = join(home, "redis.sock");
    this.#process = this.#spawn();
  }

  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(mkdtempSync(join(tmpdir(), "eyrie-redis-")), options);
    await server.ready();
    return server;
  }

  get pid(): number {
    return this.#process.pid ?? 0;
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
    await this.#end("SIGKILL");
  }

  async restart(): Promise<void> {
    this.#process = this.#spawn();
    await this.ready();
  }

  async stop(): Promise<void> {
    await this.#end("SIGTERM");
    rmSync(this.#home, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (!this.running) return;
    const gone = new Promise((done) => this.#process.once("exit", done));
    this.#process.kill(signal);
    await gone;
  }

  #spawn(): ChildProcess {
    const settings = [
      ["--port", "0"],
      ["--unixsocket", this.url],
      ["--dir", this.directory],
      ["--appendonly", "yes"],
      ["--appendfsync", "always"],
      ["--maxmemory-policy", "noeviction"],
      ["--save", ""],
      ...Object.entries(this.#options.settings ?? {}).map(([name, value]) => [`--${name}`, value]),
    ].flat();
    const [program = "", ...args] = [...(this.#options.launcher ?? []), "redis-server"];
    const child = spawn(program, [...args, ...settings], { stdio: "ignore" });
    // A test that is cut off leaves nothing running either.
    const kill = (): boolean => child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.removeListener("exit", kill));
    return child;
  }
}
