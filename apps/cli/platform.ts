/**
 * Where the running platform is: `eyrie start` leaves its Redis addresses in the project's folder so
 * that other verbs find them. The note names the process that wrote it and is void once it is gone.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Config, type RedisUrls, redisUrls } from "#infra/config/config.ts";
import { EyrieError } from "#infra/errors/error.ts";

export interface Platform extends RedisUrls {
  readonly pid: number;
}

function notePath(home: string): string {
  return join(home, "platform.json");
}

/** The platform that `eyrie start` runs from this folder, or null. */
export function runningPlatform(home: string): Platform | null {
  try {
    const platform = JSON.parse(readFileSync(notePath(home), "utf8")) as Platform;
    process.kill(platform.pid, 0);
    return platform;
  } catch {
    return null;
  }
}

export function notePlatform(home: string, platform: Platform): void {
  mkdirSync(home, { recursive: true });
  writeFileSync(notePath(home), JSON.stringify(platform), { mode: 0o600 });
}

export function forgetPlatform(home: string): void {
  rmSync(notePath(home), { force: true });
}

/** Addresses from the environment, or of the platform that runs here. */
export function findPlatform(config: Config): RedisUrls {
  const urls = redisUrls(config) ?? runningPlatform(config.EYRIE_HOME);
  if (urls === null) throw new EyrieError("PLATFORM_NOT_RUNNING");
  return urls;
}
