/**
 * The platform for a test: two real redis-servers and real worker processes running Eaglet, and a
 * hand that puts turns into mailboxes and reads the ledger.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Conversations } from "#infra/conversation/conversations.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { heapArguments } from "#infra/process/heap.ts";
import type { ReadyMessage } from "#infra/process/process.ts";
import { KeyRing } from "#infra/redis/keyring.ts";
import { plainRecords, Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { ReplyRecord, Turn } from "#infra/turn/index.ts";
import { WakeBell } from "#infra/wake/wake.ts";
import { type RedisSettings, RedisServer } from "#test/redis/server.ts";

const root = resolve(import.meta.dirname, "../..");

export class Process {
  readonly #child: ChildProcess;
  readonly #ready: Promise<ReadyMessage>;
  /** Resolves with the exit code, null after a signal. */
  readonly ended: Promise<number | null>;
  /** Everything it wrote, for the search for what must not be logged. */
  output = "";

  /** `preload` runs before the script, and in each of its threads. */
  constructor(script: string, environment: NodeJS.ProcessEnv, preload?: string) {
    this.#child = fork(join(root, script), {
      cwd: root,
      env: { ...process.env, EYRIE_LOG_LEVEL: "debug", ...environment },
      execArgv: [
        ...heapArguments,
        ...(preload === undefined ? [] : ["--import", pathToFileURL(join(root, preload)).href]),
      ],
      silent: true,
    });
    // A test that is cut off leaves nothing running, not even what it has frozen.
    const kill = (): boolean => this.#child.kill("SIGKILL");
    process.once("exit", kill);
    this.#child.once("exit", () => process.removeListener("exit", kill));
    this.ended = new Promise((done) => this.#child.once("exit", (code) => done(code)));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
    this.#ready = new Promise((done, reject) => {
      this.#child.once("message", (message: ReadyMessage) => done(message));
      this.#child.once("exit", (code) => reject(new Error(`exit ${code}: ${this.output}`)));
    });
    this.#ready.catch(() => {
      // Whoever waits for it is told.
    });
  }

  /** Port of its health pages. */
  async ready(): Promise<number> {
    return (await this.#ready).port;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Tells it something over its IPC channel; resolves with what it says next, or when it has ended. */
  async ask(message: object): Promise<unknown> {
    const answer = new Promise((done) => this.#child.once("message", done));
    this.#child.send(message, () => {
      // Not sent: it is about to end.
    });
    return Promise.race([answer, this.ended]);
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (this.running) this.#child.kill(signal);
    return this.ended;
  }
}

/** One server, or several behind one address. */
export interface TestRedis {
  readonly url: string;
  client(): Promise<ScriptedRedis>;
  stop(): Promise<void>;
}

export class TestPlatform<R extends TestRedis = RedisServer> {
  readonly truthServer: R;
  readonly stateServer: R;
  readonly truth: ScriptedRedis;
  readonly state: ScriptedRedis;
  readonly mailbox: Mailbox;
  readonly ledger: Ledger;
  readonly bell: WakeBell;
  readonly conversations: Conversations;
  readonly home = mkdtempSync(join(tmpdir(), "eyrie-home-"));
  /** What no process may ever log: every text and token that went through this platform. */
  readonly #unspeakable = new Set<string>();
  readonly #processes: Process[] = [];
  readonly #keys: string;

  private constructor(
    servers: { readonly truth: R; readonly state: R },
    clients: { readonly truth: ScriptedRedis; readonly state: ScriptedRedis },
    keys: string,
  ) {
    const records = keys === "" ? plainRecords : new Records(KeyRing.parse(keys));
    this.#keys = keys;
    this.truthServer = servers.truth;
    this.stateServer = servers.state;
    this.truth = clients.truth;
    this.state = clients.state;
    this.mailbox = new Mailbox(this.truth, records);
    this.ledger = new Ledger(this.truth, records);
    this.bell = new WakeBell(this.truth);
    this.conversations = new Conversations(clients, this.bell, records);
  }

  /** `keys`: what EYRIE_KEYS is set to. */
  static async start(
    options: {
      readonly truth?: RedisSettings;
      readonly state?: RedisSettings;
      readonly keys?: string;
    } = {},
  ): Promise<TestPlatform> {
    const [truth, state] = await Promise.all([
      RedisServer.start(options.truth),
      RedisServer.start(options.state),
    ]);
    return TestPlatform.on({ truth, state }, options.keys);
  }

  /** On servers that are running; they are stopped with the platform. */
  static async on<R extends TestRedis>(
    servers: { readonly truth: R; readonly state: R },
    keys = "",
  ): Promise<TestPlatform<R>> {
    const clients = { truth: await servers.truth.client(), state: await servers.state.client() };
    return new TestPlatform(servers, clients, keys);
  }

  /** What a process of this platform finds in its environment. */
  get environment(): NodeJS.ProcessEnv {
    return {
      REDIS_URL: this.truthServer.url,
      STATE_REDIS_URL: this.stateServer.url,
      EYRIE_HOME: this.home,
      EYRIE_WORKER_PORT: "0",
      EYRIE_GATEWAY_PORT: "0",
      EYRIE_THREADS: "1",
      EYRIE_KEYS: this.#keys,
    };
  }

  async run(
    script: string,
    environment: NodeJS.ProcessEnv = {},
    preload?: string,
  ): Promise<Process> {
    this.mustNotBeLogged(environment["DISCORD_TOKEN"] ?? "");
    const process = new Process(script, { ...this.environment, ...environment }, preload);
    this.#processes.push(process);
    await process.ready();
    return process;
  }

  worker(environment: NodeJS.ProcessEnv = {}): Promise<Process> {
    return this.run("apps/worker/main.ts", environment);
  }

  async say(turn: Turn): Promise<void> {
    this.mustNotBeLogged(turn.text);
    const appended = await this.mailbox.append(turn);
    if (appended.kind !== "appended") throw new Error(`turn ${turn.id}: ${appended.kind}`);
    const { conversation, id: headTurnId, model } = turn;
    await this.bell.ring({ conversation, headTurnId, model, traceId: headTurnId });
  }

  /** The reply record, waited for. */
  async reply(turn: Turn, patienceMs = 20_000): Promise<ReplyRecord> {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const record = await this.ledger.reply(turn.conversation, {
        turn: turn.id,
        attempt: turn.attempt,
      });
      if (record !== null) {
        this.mustNotBeLogged(record.text);
        return record;
      }
      if (Date.now() > deadline) throw new Error(`no reply to turn ${turn.id}`);
      await new Promise((done) => setTimeout(done, 10));
    }
  }

  async exchange(turn: Turn): Promise<ReplyRecord> {
    await this.say(turn);
    return this.reply(turn);
  }

  /** Short texts such as "Hi" are no evidence: they are parts of ordinary words. */
  mustNotBeLogged(text: string): void {
    if (text.length >= 10) this.#unspeakable.add(text);
  }

  /** Everything that all processes wrote so far. */
  get output(): string {
    return this.#processes.map(({ output }) => output).join("");
  }

  /** Ends everything, and searches all that was logged for what must not be there. */
  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.end()));
    await this.bell.close();
    this.truth.disconnect();
    this.state.disconnect();
    await Promise.all([this.truthServer.stop(), this.stateServer.stop()]);
    rmSync(this.home, { recursive: true, force: true });
    const leak = [...this.#unspeakable].find((text) => this.output.includes(text));
    if (leak !== undefined) throw new Error(`a process logged ${JSON.stringify(leak)}`);
  }
}
