/**
 * The platform under load: two real redis-servers, a gateway and worker processes of ours, the
 * Discord double, and what each of them has used so far.
 *
 * The double and the generator are this process; the model's share of the worker is told by its
 * thread (`scripted.ts`). Everything else is the platform.
 */
import { readFileSync } from "node:fs";
import type { Part } from "#apps/cli/bench/platform.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import {
  type Channel,
  DiscordDouble,
  type Message,
  type User,
} from "#test/doubles/discord/index.ts";
import { type Process, TestPlatform } from "#test/platform/platform.ts";
import { type Page, parsePage } from "./statistics.ts";
import { scriptVariable, type Script, type ScriptedUsage } from "./scripted.ts";

/** `process.cpuUsage` counts in 100ths of a second on Linux, and so does /proc. */
const ticksPerSecond = 100;

/** Everything that only grows, at one moment. */
export interface Usage {
  readonly atMs: number;
  readonly cpuMs: Readonly<Record<Part, number>>;
  readonly pages: { readonly gateway: Page; readonly workers: readonly Page[] };
  readonly commands: { readonly truth: number; readonly state: number };
  readonly requests: number;
}

export interface StageOptions {
  readonly guilds: number;
  readonly channels: number;
  readonly users: number;
  readonly workers: number;
  /** Discord's own, or none. */
  readonly limits: "discord" | "lifted";
  readonly script: Script;
  readonly environment: Readonly<Record<string, string>>;
}

/** A question, when it should have been asked, and the message that asked it. */
export interface Asked {
  readonly channel: Channel;
  readonly trigger: Message;
  readonly plannedMs: number;
}

export class Stage {
  readonly platform: TestPlatform;
  readonly double: DiscordDouble;
  readonly channels: readonly Channel[];
  readonly crowd: Channel;
  readonly users: readonly User[];
  /** What stands in a reply's message before its first word. */
  readonly thinking: string;
  #gateway: Process | null = null;
  #workers: Process[] = [];

  private constructor(platform: TestPlatform, double: DiscordDouble, world: World) {
    this.platform = platform;
    this.double = double;
    this.channels = world.channels;
    this.crowd = world.crowd;
    this.users = world.users;
    this.thinking = world.thinking;
  }

  static async open(options: StageOptions): Promise<Stage> {
    const platform = await TestPlatform.start();
    const double = await DiscordDouble.start({ identifyWindowMs: 1 });
    if (options.limits === "lifted") double.rateLimits.lift();
    const stage = new Stage(platform, double, await worldOf(double, options));
    try {
      await stage.#start(options);
      return stage;
    } catch (error) {
      await stage.close();
      throw error;
    }
  }

  async #start(options: StageOptions): Promise<void> {
    const environment = { EYRIE_LOG_LEVEL: "info", ...options.environment };
    const folder = "test/bench/platform";
    const gateway = options.limits === "lifted" ? `${folder}/gateway.ts` : "apps/gateway/main.ts";
    this.#workers = await Promise.all(
      Array.from({ length: options.workers }, () =>
        this.platform.run(`${folder}/worker.ts`, {
          ...environment,
          [scriptVariable]: JSON.stringify(options.script),
        }),
      ),
    );
    this.#gateway = await this.platform.run(gateway, {
      ...environment,
      DISCORD_TOKEN: this.double.token,
      DISCORD_API_URL: this.double.restUrl,
    });
  }

  async usage(): Promise<Usage> {
    const { double, platform } = this;
    const gateway = this.#gateway!;
    const told = await Promise.all(this.#workers.map((worker) => usageOf(worker)));
    const modelMs = sum(told.map((usage) => usage.modelMs));
    const [truth, state] = await Promise.all([statsOf(platform.truth), statsOf(platform.state)]);
    const { user, system } = process.cpuUsage();
    return {
      atMs: performance.now(),
      cpuMs: {
        gateway: cpuMsOf(gateway),
        worker: sum(this.#workers.map(cpuMsOf)) - modelMs,
        truth: truth.cpuMs,
        state: state.cpuMs,
        model: modelMs,
        double: (user + system) / 1000,
      },
      pages: {
        gateway: await pageOf(gateway),
        workers: await Promise.all(this.#workers.map(pageOf)),
      },
      commands: { truth: truth.commands, state: state.commands },
      requests: double.log.total,
    };
  }

  /** Resident memory, bytes. */
  memory(): { readonly gateway: number; readonly workers: readonly number[] } {
    return { gateway: residentBytes(this.#gateway!), workers: this.#workers.map(residentBytes) };
  }

  /** Ends the workers as a deploy would; bytes of the states that they left in Redis. */
  async drain(): Promise<number> {
    const before = await statsOf(this.platform.state);
    await Promise.all(this.#workers.map((worker) => worker.end()));
    return (await statsOf(this.platform.state)).bytesIn - before.bytesIn;
  }

  async close(): Promise<void> {
    await this.platform.stop();
    await this.double.close();
  }
}

interface World {
  readonly channels: readonly Channel[];
  readonly crowd: Channel;
  readonly users: readonly User[];
  readonly thinking: string;
}

async function worldOf(double: DiscordDouble, options: StageOptions): Promise<World> {
  const guilds = Array.from({ length: options.guilds }, (_, index) =>
    double.addGuild({ name: `guild-${index}` }),
  );
  const channels = Array.from({ length: options.channels }, (_, index) =>
    double.addChannel(guilds[index % guilds.length]!, { name: `channel-${index}` }),
  );
  const crowd = double.addChannel(guilds[0]!, { name: "crowd" });
  const users = Array.from({ length: options.users }, (_, index) =>
    double.addUser({ name: `user-${index}` }),
  );
  const translator = await loadTranslator();
  return { channels, crowd, users, thinking: translator.text("en-US", "replies:thinking") };
}

async function usageOf(worker: Process): Promise<ScriptedUsage> {
  return (await worker.ask({ tell: "usage" })) as ScriptedUsage;
}

async function pageOf(process: Process): Promise<Page> {
  const response = await fetch(`http://127.0.0.1:${await process.ready()}/metrics`);
  return parsePage(await response.text());
}

/** Of all its threads. Fields 14 and 15 of the line, counted behind the name, which may hold blanks. */
function cpuMsOf({ pid }: Process): number {
  const line = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond;
}

function residentBytes({ pid }: Process): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}

async function statsOf(
  client: TestPlatform["truth"],
): Promise<{ readonly cpuMs: number; readonly commands: number; readonly bytesIn: number }> {
  const info = `${await client.info("cpu")}\n${await client.info("stats")}`;
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1]);
  return {
    cpuMs: 1000 * (field("used_cpu_sys") + field("used_cpu_user")),
    commands: field("total_commands_processed"),
    bytesIn: field("total_net_input_bytes"),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
