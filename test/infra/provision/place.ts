/** A data directory of its own for each test, a log that can be read, and an end to what runs. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { onTestFinished } from "vitest";
import {
  type ProvisionOptions,
  type ProvisionedRedis,
  provisionRedis,
} from "#infra/redis/provision.ts";
import type { ProvisionLog } from "#infra/redis/provision/server.ts";

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "eyrie-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export function readableLog(): ProvisionLog & { readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (level: string) => (message: string) => void lines.push(`${level}: ${message}`);
  return { lines, info: keep("info"), warn: keep("warn"), error: keep("error") };
}

/** Stopped when the test ends. */
export async function provision(
  options: Omit<ProvisionOptions, "log" | "role"> & Partial<ProvisionOptions>,
): Promise<ProvisionedRedis> {
  const redis = await provisionRedis({ role: "truth", log: readableLog(), ...options });
  onTestFinished(() => redis.stop());
  return redis;
}

/** Disconnected when the test ends; waits for a server that is being restarted. */
export function connect(url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on("error", () => {}); // expected while a server is down
  onTestFinished(() => client.disconnect());
  return client;
}
