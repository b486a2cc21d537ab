/**
 * A platform to be broken: two redis-servers, workers with the scripted backend and a gateway as real
 * processes, the Discord double, and channels whose every message is remembered.
 *
 * What must hold after any fault is in check.ts; `close` verifies that no process logged what people
 * or the model said.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { CommitOutcome } from "#infra/ledger/ledger.ts";
import {
  type ConversationId,
  conversationId,
  type ReplyRecord,
  turnId,
} from "#infra/turn/index.ts";
import { scriptedTokenizer, writeScriptedModel } from "#test/doubles/backend/model.ts";
import {
  type Channel,
  DiscordDouble,
  type DoubleOptions,
  type Message,
  type User,
} from "#test/doubles/discord/index.ts";
import { type Process, TestPlatform, type TestRedis } from "#test/platform/platform.ts";
import { type RedisServer, type RedisSettings } from "#test/redis/server.ts";
import type { Deed, LabelName, Order } from "./labels.ts";

const preload = "test/faults/preload.ts";
/** Far beyond every bound: times are recorded, only what never comes fails a test. */
export const patienceMs = 60_000;
const pollMs = 5;
const restartMs = 250;
const generous = { limit: 1_000, windowMs: 1_000 };
/** Discord lets everything pass, so that a test need not wait; row 21 has its real limits. */
const generousLimits = {
  rules: {
    "POST /channels/:channel/messages": generous,
    "PATCH /channels/:channel/messages/:message": generous,
  },
  fallback: generous,
  global: generous,
};

export interface SceneOptions {
  readonly workers?: number;
  readonly channels?: number;
  readonly gateway?: boolean;
  /** The gateway sends as much as it can, and not what Discord takes a second. */
  readonly lifted?: boolean;
  readonly double?: Partial<DoubleOptions>;
  readonly truth?: RedisSettings;
  readonly state?: RedisSettings;
  /** For every process. */
  readonly environment?: NodeJS.ProcessEnv;
}

export interface Said {
  readonly channel: Channel;
  readonly text: string;
  readonly trigger: Message;
}

export class Scene<R extends TestRedis = RedisServer> {
  readonly platform: TestPlatform<R>;
  readonly double: DiscordDouble;
  readonly channels: readonly Channel[];
  readonly ada: User;
  readonly workers: Process[] = [];
  /** Everything said to the bot that must get an answer, in order. */
  readonly said: Said[] = [];
  /** What was refused at the door: a notice, and no turn. */
  readonly refused: Said[] = [];
  readonly tokenizer = scriptedTokenizer();
  gateway: Process | null = null;
  readonly #model: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #lifted: boolean;

  private constructor(
    platform: TestPlatform<R>,
    double: DiscordDouble,
    options: {
      readonly channels: number;
      readonly model: string;
      readonly environment: NodeJS.ProcessEnv;
      readonly lifted: boolean;
    },
  ) {
    this.platform = platform;
    this.double = double;
    const guild = double.addGuild({ name: "Nest" });
    this.ada = double.addUser({ name: "ada" });
    this.channels = Array.from({ length: options.channels }, (_, index) =>
      double.addChannel(guild, { name: `talk-${index}` }),
    );
    this.#model = options.model;
    this.#environment = options.environment;
    this.#lifted = options.lifted;
  }

  static async open(options: SceneOptions = {}): Promise<Scene> {
    const { truth = {}, state = {} } = options;
    return Scene.on(await TestPlatform.start({ truth, state }), options);
  }

  /** On servers of another kind. */
  static async on<R extends TestRedis>(
    platform: TestPlatform<R>,
    options: Omit<SceneOptions, "truth" | "state"> = {},
  ): Promise<Scene<R>> {
    const { channels = 1, workers = 1, gateway = true, lifted = false, environment = {} } = options;
    const model = mkdtempSync(join(tmpdir(), "eyrie-scripted-"));
    writeScriptedModel(model);
    const double = await DiscordDouble.start({
      identifyWindowMs: 1,
      rateLimits: generousLimits,
      ...options.double,
    });
    const scene = new Scene(platform, double, { channels, model, environment, lifted });
    try {
      const starting: Promise<unknown>[] = Array.from({ length: workers }, () =>
        scene.startWorker(),
      );
      if (gateway) starting.push(scene.startGateway());
      await Promise.all(starting);
    } catch (error) {
      await scene.close();
      throw error;
    }
    return scene;
  }

  get channel(): Channel {
    return this.#at(0);
  }

  #at(index: number): Channel {
    const channel = this.channels[index];
    if (channel === undefined) throw new RangeError(`no channel ${index}`);
    return channel;
  }

  /** What every process of this platform is told. */
  environment(changes: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
    return {
      EYRIE_MODEL: this.#model,
      EYRIE_STATE_CODEC: "f32",
      EYRIE_TEST_BACKEND: "scripted",
      DISCORD_TOKEN: this.double.token,
      DISCORD_API_URL: this.double.restUrl,
      ...this.#environment,
      ...changes,
    };
  }

  async startWorker(changes: NodeJS.ProcessEnv = {}): Promise<Process> {
    const worker = await this.platform.run(
      "apps/worker/main.ts",
      this.environment(changes),
      preload,
    );
    this.workers.push(worker);
    return worker;
  }

  async startGateway(changes: NodeJS.ProcessEnv = {}): Promise<Process> {
    const script = this.#lifted ? "test/bench/platform/gateway.ts" : "apps/gateway/main.ts";
    this.gateway = await this.platform.run(script, this.environment(changes), preload);
    return this.gateway;
  }

  /** The deed is done when `process` passes the label for the `passing`th time from now. */
  async arm(process: Process, label: LabelName, deed: Deed, passing = 1): Promise<void> {
    await process.ask({ kind: "arm", label, deed, passing } satisfies Order);
  }

  /** Sets the wall clock of a process wrong. */
  async skew(process: Process, ms: number): Promise<void> {
    await process.ask({ kind: "skew", ms } satisfies Order);
  }

  async disarm(process: Process, label: LabelName): Promise<void> {
    await this.arm(process, label, { kind: "nothing" });
  }

  /**
   * The first worker that passes the label dies, and the others no longer do. Returns once all are
   * armed; what it returns resolves when it has happened.
   */
  async armWorkers(label: LabelName, passing = 1): Promise<{ readonly death: Promise<void> }> {
    const armed = [...this.workers];
    await Promise.all(armed.map((one) => this.arm(one, label, { kind: "kill" }, passing)));
    const first = Promise.race(armed.map(async (one) => one.ended.then(() => one)));
    const death = first.then(async (dead) => {
      await this.kill(dead);
      await Promise.all(this.workers.map((one) => this.disarm(one, label)));
    });
    return { death };
  }

  /** The gateway dies at the label; resolves when it has happened. */
  async armGateway(label: LabelName, passing = 1): Promise<{ readonly death: Promise<void> }> {
    const { gateway } = this;
    if (gateway === null) throw new Error("no gateway");
    await this.arm(gateway, label, { kind: "kill" }, passing);
    return { death: gateway.ended.then(() => undefined) };
  }

  /**
   * As a supervisor: a worker that ends is started again, until the returned function is called; that
   * one tells how many did.
   */
  supervise(): () => Promise<number> {
    let deaths = 0;
    const watches = this.workers.map((worker) =>
      this.#watch(worker, async () => this.startWorker(), {
        onEnd: () => {
          deaths++;
          this.#forgetTheDead();
        },
      }),
    );
    return async () => {
      for (const end of watches) await end();
      return deaths;
    };
  }

  #forgetTheDead(): void {
    const living = this.workers.filter(({ running }) => running);
    this.workers.splice(0, this.workers.length, ...living);
  }

  /** The same for the gateway. */
  superviseGateway(): () => Promise<void> {
    if (this.gateway === null) throw new Error("no gateway");
    return this.#watch(this.gateway, async () => this.startGateway(), { onEnd: () => undefined });
  }

  /** Replaces a process whenever it ends; a start that fails is tried again, for its Redis may be away. */
  #watch(
    first: Process,
    replace: () => Promise<Process>,
    { onEnd }: { readonly onEnd: () => void },
  ): () => Promise<void> {
    const ending = new AbortController();
    let starting: Promise<void> = Promise.resolve();
    const start = async (): Promise<void> => {
      while (!ending.signal.aborted) {
        try {
          return watch(await replace());
        } catch {
          await sleep(restartMs);
        }
      }
    };
    const watch = (process: Process): void => {
      void process.ended.then(() => {
        if (ending.signal.aborted) return;
        onEnd();
        starting = start();
      });
    };
    watch(first);
    return async () => {
      ending.abort();
      await starting;
    };
  }

  /** Kills, and forgets a worker. */
  async kill(process: Process): Promise<void> {
    await process.end("SIGKILL");
    const index = this.workers.indexOf(process);
    if (index >= 0) this.workers.splice(index, 1);
  }

  say(text: string, channel: Channel = this.channel): Said {
    const trigger = this.double.userSays(channel, this.ada, text, { mention: true });
    const said = { channel, text, trigger };
    this.platform.mustNotBeLogged(text);
    this.said.push(said);
    return said;
  }

  /** Says what must be refused with a notice that tells why. */
  async sayInVain(text: string, channel: Channel = this.channel): Promise<string> {
    const said = this.say(text, channel);
    this.said.splice(this.said.indexOf(said), 1);
    this.refused.push(said);
    await this.until(() => this.replies(said).length > 0, `a notice for ${text}`);
    return this.shown(said);
  }

  conversation(channel: Channel = this.channel): ConversationId {
    return conversationId(`discord-${channel.id}`);
  }

  async record({ channel, trigger }: Said): Promise<ReplyRecord | null> {
    const key = { turn: turnId(trigger.id), attempt: 0 };
    return this.platform.ledger.reply(this.conversation(channel), key);
  }

  /** Bot messages that answer it, as they stand. */
  replies({ channel, trigger }: Said): Message[] {
    return this.double.botMessages(channel).filter(({ replyTo }) => replyTo?.id === trigger.id);
  }

  /** What people read now as the answer to it. */
  shown(said: Said): string {
    return this.replies(said)
      .map(({ wire }) => wire.content)
      .join("");
  }

  async fence(channel: Channel = this.channel): Promise<number> {
    return (await this.platform.ledger.summary(this.conversation(channel))).fence;
  }

  /** Waits until a part of the answer can be read, and returns it. */
  async firstWords(said: Said): Promise<string> {
    await this.until(() => this.shown(said).includes("word"), `words of ${said.text}`);
    return this.shown(said);
  }

  /** Every message has its record and nothing waits for Discord. */
  async settled(): Promise<void> {
    for (const said of this.said) {
      await this.until(async () => (await this.record(said)) !== null, `a record of ${said.text}`);
    }
    const { ledger } = this.platform;
    await this.until(async () => (await ledger.outbox()).length === 0, "an empty outbox");
  }

  /** Resolves with the ms it took. */
  async until(probe: () => boolean | Promise<boolean>, what: string): Promise<number> {
    const startedMs = performance.now();
    while (!(await probe())) {
      if (performance.now() - startedMs > patienceMs) {
        throw new Error(`waited in vain for ${what}; last lines:\n${this.lastLines()}`);
      }
      await sleep(pollMs);
    }
    return performance.now() - startedMs;
  }

  /** What each living process wrote last. */
  lastLines(): string {
    const processes = [...this.workers, ...(this.gateway === null ? [] : [this.gateway])];
    return processes.map(({ output }) => output.split("\n").slice(-6).join("\n")).join("\n");
  }

  async metric(process: Process, name: string): Promise<number> {
    const page = await fetch(`http://127.0.0.1:${await process.ready()}/metrics`);
    const found = new RegExp(`^${name} (\\S+)$`, "m").exec(await page.text());
    return Number(found?.[1] ?? Number.NaN);
  }

  /** How often a commit was refused so, over all processes. */
  refusals(kind: CommitOutcome["kind"]): number {
    return this.platform.output.split(`"refusal":"${kind}"`).length - 1;
  }

  async close(): Promise<void> {
    await this.platform.stop();
    await this.double.close();
    rmSync(this.#model, { recursive: true, force: true });
  }
}
