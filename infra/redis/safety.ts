/** Refuses a Redis that could lose or evict what must not be lost; see REDIS_UNSAFE. */
import type { Redis } from "ioredis";
import { EyrieError } from "#infra/errors/error.ts";

/** Lua's `#!lua` header and the stream commands we use came with 7.0. */
const versionMin = 7;

/**
 * Checks the truth server. Eviction is refused everywhere; without an append-only file synced at
 * every write only the demo profile goes on, because an acknowledged turn could be lost.
 */
export async function assertSafe(
  truth: Redis,
  options: { readonly production: boolean },
): Promise<void> {
  const server = await truth.info("server");
  const version = Number(/redis_version:(\d+)/.exec(server)?.[1] ?? 0);
  if (version < versionMin) throw unsafe("redis_version", `at least ${versionMin}`);
  const memory = await truth.info("memory");
  const policy = /maxmemory_policy:(\S+)/.exec(memory)?.[1];
  if (policy !== undefined && policy !== "noeviction")
    throw unsafe("maxmemory-policy", "noeviction");
  if (!options.production) return;
  const persistence = await truth.info("persistence");
  if (!/aof_enabled:1/.test(persistence)) throw unsafe("appendonly", "yes");
}

function unsafe(setting: string, wanted: string): EyrieError {
  return new EyrieError("REDIS_UNSAFE", { setting, wanted });
}
