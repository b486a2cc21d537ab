/**
 * `eyrie start`: the whole platform on one machine, until Ctrl-C.
 *
 * Redis for both roles (given, found or brought along), workers, and the gateway when there is a
 * token. Everything it started ends with it, whichever way it ends.
 */
import { styleText } from "node:util";
import { type Config, loadConfig } from "#infra/config/config.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { loadTranslator, type Translator } from "#infra/i18n/i18n.ts";
import { connectRedis } from "#infra/redis/client.ts";
import { openRecords } from "#infra/redis/records.ts";
import { assertSafe } from "#infra/redis/safety.ts";
import { type ProvisionedRedis, provisionRedis } from "#infra/redis/provision.ts";
import { exitWithParent } from "#infra/setup/parent.ts";
import { createLog, type Log } from "#infra/telemetry/log.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";
import { Child, ChildFailed } from "../children.ts";
import { forgetPlatform, notePlatform, runningPlatform } from "../platform.ts";

export interface StartOptions {
  readonly only?: readonly string[];
  readonly workers: number;
  readonly quantise?: Quantise;
}

export async function start(options: StartOptions): Promise<void> {
  exitWithParent();
  if (options.quantise !== undefined) process.env["EYRIE_QUANTISE"] = options.quantise;
  const config = loadConfig(process.env);
  const log = createLog({
    process: "start",
    level: config.EYRIE_LOG_LEVEL,
    readable: config.EYRIE_PROFILE === "demo" && process.stderr.isTTY,
  });
  const other = runningPlatform(config.EYRIE_HOME);
  if (other !== null) throw new EyrieError("ALREADY_RUNNING", { pid: other.pid });
  const asked = untilAskedToEnd();
  const stack = new AsyncDisposableStack();
  try {
    await bringUp(config, { ...options, log, stack });
    await asked;
  } catch (error) {
    if (!(error instanceof ChildFailed)) throw error;
    process.exitCode = error.exitCode;
  } finally {
    await stack.disposeAsync();
  }
  process.exit();
}

async function bringUp(
  config: Config,
  platform: StartOptions & { readonly log: Log; readonly stack: AsyncDisposableStack },
): Promise<void> {
  const { log, stack } = platform;
  const translator = await loadTranslator();
  const { truth, state } = await provide(config, log, stack);
  const environment = { ...process.env, REDIS_URL: truth.url, STATE_REDIS_URL: state.url };
  const wants = (part: string): boolean => platform.only?.includes(part) ?? true;
  const children: Child[] = [];
  if (wants("worker")) {
    for (let index = 0; index < platform.workers; index++) {
      const ports = index === 0 ? {} : { EYRIE_WORKER_PORT: "0" };
      const name = platform.workers === 1 ? "worker" : `worker ${index + 1}`;
      const options = { environment: { ...environment, ...ports }, log };
      children.push(new Child(name, "apps/worker/main.ts", options));
    }
  }
  if (wants("gateway") && config.DISCORD_TOKEN !== undefined) {
    children.push(new Child("gateway", "apps/gateway/main.ts", { environment, log }));
  }
  stack.defer(async () => {
    // The gateway first, so that it shows nothing half done while the workers drain.
    for (const child of children.toReversed()) await child.end();
  });
  await Promise.all(children.map((child) => child.start()));
  notePlatform(config.EYRIE_HOME, {
    pid: process.pid,
    truthUrl: truth.url,
    stateUrl: state.url,
  });
  stack.defer(() => forgetPlatform(config.EYRIE_HOME));
  greet(config, translator, { truth, children });
}

/** Both Redis roles, checked; stopped last, after everything that uses them. */
async function provide(
  config: Config,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<{ truth: ProvisionedRedis; state: ProvisionedRedis }> {
  const production = config.EYRIE_PROFILE === "production";
  const provideRole = async (role: "truth" | "state", url: string | undefined) => {
    const redis = await provisionRedis({
      role,
      url,
      dataDirectory: config.EYRIE_HOME,
      log,
      production,
    });
    stack.defer(() => redis.stop());
    return redis;
  };
  const truth = await provideRole("truth", config.REDIS_URL);
  const state = await provideRole("state", config.STATE_REDIS_URL ?? config.REDIS_URL);
  const clients = { truth: await connectRedis(truth.url), state: await connectRedis(state.url) };
  try {
    await assertSafe(clients, { production, log });
    await openRecords(config, clients.truth);
  } finally {
    clients.truth.disconnect();
    clients.state.disconnect();
  }
  return { truth, state };
}

function greet(
  config: Config,
  translator: Translator,
  running: { readonly truth: ProvisionedRedis; readonly children: readonly Child[] },
): void {
  const text = (key: string, values: Record<string, string> = {}): string =>
    translator.text(config.EYRIE_LOCALE, `terminal:${key}`, values);
  const lines = [
    "",
    styleText(["bold", "green"], `  ${text("ready")}`),
    ...running.children.map(({ name, pid }) => `    ${name.padEnd(10)} ${pid}`),
    "",
    `  ${text("chatHere", { command: styleText("bold", "npx eyrie chat") })}`,
    ...(config.DISCORD_TOKEN === undefined ? [`  ${text("noToken")}`] : []),
    ...(running.truth.durable ? [] : [styleText("yellow", `  ${text("memoryOnly")}`)]),
    `  ${text("stopWith")}`,
    "",
  ];
  process.stderr.write(`${lines.join("\n")}\n`);
}

function untilAskedToEnd(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      // Asked again and again the answer is the same: turns are being put down safely.
      process.on(signal, () => resolve());
    }
  });
}
