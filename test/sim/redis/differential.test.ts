/** The simulation's Redis is Redis, as far as the scripts can tell. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { RedisServer } from "#test/redis/server.ts";
import { scriptNames } from "./calls.ts";
import { compare, shippedScripts } from "./differential.ts";
import { Lua } from "./lua.ts";

const sequences = 100;
let server: RedisServer;
let real: ScriptedRedis;
let lua: Lua;

beforeAll(async () => {
  server = await RedisServer.start();
  real = await server.client();
  // Here nothing is to survive, and speed is all.
  await real.config("SET", "appendonly", "no");
  lua = await Lua.open();
});

afterAll(async () => {
  real.disconnect();
  await server.stop();
});

test("every shipped script is compared", () => {
  const folder = join(import.meta.dirname, "../../../infra/redis/scripts");
  expect(shippedScripts().size).toBe(readdirSync(folder).length);
  expect([...shippedScripts().keys()].sort()).toEqual(scriptNames.toSorted());
});

test.each(scriptNames)("%s: the same replies and keys as redis-server", async (script) => {
  const { calls, effective } = await compare(real, lua, { script, sequences, seed: 1 });
  // Many calls are refused, as they should be; not all.
  expect(effective).toBeGreaterThan(calls / 20);
});
