/**
 * `eyrie doctor`: looks at everything Eyrie needs, says what is missing and how to mend it, and
 * changes nothing. Exit code 1 when something that is needed is missing.
 */
import { accessSync, constants, existsSync, statfsSync } from "node:fs";
import { availableParallelism, freemem, totalmem } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { styleText } from "node:util";
import {
  type Config,
  configSchema,
  loadConfig,
  redisUrls,
  wantedVariant,
} from "#infra/config/config.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { connectRedis, withoutPassword } from "#infra/redis/client.ts";
import type { RedisRole } from "#infra/redis/provision/server.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { findUnsafe, type Unsafe, unsafeValues } from "#infra/redis/safety.ts";
import { ModelError } from "#kernels/errors.ts";
import { openBackend } from "../backend.ts";
import { bytes, table } from "../output.ts";
import { runningPlatform } from "../platform.ts";

interface Finding {
  readonly name: string;
  readonly state: "ok" | "note" | "missing";
  /** What was found. */
  readonly found: string;
  /** Key under `terminal:mend.` of what to do; none when all is well. */
  readonly mend?: string;
  /** What a Redis would have to have changed. */
  readonly unsafe?: readonly Unsafe[];
}

const nodeMajor = 24;
const diskBytesMin = 512 * 1024 ** 2;

export async function doctor(options: { readonly json?: true }): Promise<void> {
  const config = loadConfig(process.env);
  const findings = [
    checkNode(),
    checkMachine(),
    checkDisk(config),
    ...(await checkRedis(config)),
    await checkModel(config),
    checkCompiler(),
    checkDiscord(config),
    checkPlatform(config),
  ];
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify({ findings }, null, 2)}\n`);
  } else {
    await print(findings, config);
  }
  if (findings.some(({ state }) => state === "missing")) process.exitCode = 1;
}

async function print(findings: readonly Finding[], config: Config): Promise<void> {
  const translator = await loadTranslator();
  const marks = {
    ok: styleText("green", "✓"),
    note: styleText("yellow", "·"),
    missing: styleText("red", "✗"),
  };
  const width = Math.max(...findings.map(({ name }) => name.length));
  const locale = config.EYRIE_LOCALE;
  for (const { name, state, found, mend, unsafe } of findings) {
    process.stdout.write(`${marks[state]} ${name.padEnd(width)}  ${found}\n`);
    const advice: string[] = [];
    if (unsafe !== undefined) {
      const error = new EyrieError("REDIS_UNSAFE", unsafeValues(unsafe));
      advice.push(translator.error(translator.resolve(locale), error));
    }
    if (mend !== undefined) advice.push(translator.text(locale, `terminal:mend.${mend}`));
    for (const line of advice) {
      process.stdout.write(`  ${" ".repeat(width)}  ${styleText("gray", `→ ${line}`)}\n`);
    }
  }
  const switches = Object.entries(configSchema.shape).map(
    ([key, schema]) => [key, schema.description ?? ""] as const,
  );
  process.stdout.write(`\n${table(switches)}`);
}

function checkNode(): Finding {
  const found = `${process.versions.node} (${process.platform} ${process.arch})`;
  const major = Number(process.versions.node.split(".")[0]);
  if (major < nodeMajor) return { name: "Node", state: "missing", found, mend: "node" };
  const known = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);
  return known
    ? { name: "Node", state: "ok", found }
    : { name: "Node", state: "note", found, mend: "platform" };
}

function checkMachine(): Finding {
  const found = `${availableParallelism()} cores, ${bytes(freemem())} of ${bytes(totalmem())} free`;
  return { name: "machine", state: "ok", found };
}

function checkDisk(config: Config): Finding {
  let directory = config.EYRIE_HOME;
  while (!existsSync(directory)) directory = dirname(directory);
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  const found = `${bytes(free)} free in ${directory}`;
  try {
    accessSync(directory, constants.W_OK);
  } catch {
    return { name: "disk", state: "missing", found: directory, mend: "home" };
  }
  return free < diskBytesMin
    ? { name: "disk", state: "missing", found, mend: "disk" }
    : { name: "disk", state: "ok", found };
}

async function checkRedis(config: Config): Promise<Finding[]> {
  const name = "Redis";
  const urls = redisUrls(config);
  if (urls !== null) {
    return [
      await checkGiven(config, "truth", urls.truthUrl),
      await checkGiven(config, "state", urls.stateUrl),
    ];
  }
  const binary = findProgram("redis-server") ?? findProgram("valkey-server");
  if (binary !== null) return [{ name, state: "ok", found: binary }];
  return findProgram("apt-get") === null
    ? [{ name, state: "note", found: "JavaScript", mend: "redisJavascript" }]
    : [{ name, state: "note", found: "Debian", mend: "redisDebian" }];
}

async function checkGiven(config: Config, role: RedisRole, url: string): Promise<Finding> {
  const name = `Redis (${role})`;
  const found = withoutPassword(url);
  let client: ScriptedRedis;
  try {
    client = await connectRedis(url);
  } catch {
    return { name, state: "missing", found, mend: "redisUrl" };
  }
  try {
    const unsafe = await findUnsafe(client, role);
    if (unsafe.length === 0) return { name, state: "ok", found };
    const production = config.EYRIE_PROFILE === "production";
    const refused = unsafe.some((one) => production || one.refused === "everywhere");
    return refused
      ? { name, state: "missing", found, unsafe }
      : { name, state: "note", found, unsafe, mend: "redisDemo" };
  } finally {
    client.disconnect();
  }
}

async function checkModel(config: Config): Promise<Finding> {
  const name = "model";
  const found = `${config.EYRIE_MODEL} (${config.EYRIE_BACKEND})`;
  try {
    const quantise = wantedVariant(config);
    const backend = await openBackend(config.EYRIE_BACKEND, config.EYRIE_MODEL, { quantise });
    backend.close();
    return { name, state: "ok", found: `${found}, ${backend.numericClass}` };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { name, state: "missing", found: `${found}: ${error.message}`, mend: "model" };
  }
}

function checkCompiler(): Finding {
  const found = ["gcc", "cmake", "nvcc"].filter((program) => findProgram(program) !== null);
  return { name: "compilers", state: "ok", found: found.join(", ") || "none needed" };
}

function checkDiscord(config: Config): Finding {
  return config.DISCORD_TOKEN === undefined
    ? { name: "Discord", state: "note", found: "DISCORD_TOKEN is not set", mend: "discord" }
    : { name: "Discord", state: "ok", found: "DISCORD_TOKEN is set" };
}

function checkPlatform(config: Config): Finding {
  const platform = runningPlatform(config.EYRIE_HOME);
  return platform === null
    ? { name: "platform", state: "note", found: "not running", mend: "start" }
    : { name: "platform", state: "ok", found: `running, process ${platform.pid}` };
}

function findProgram(name: string): string | null {
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  return directories.map((directory) => join(directory, name)).find(existsSync) ?? null;
}
