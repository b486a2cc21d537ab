/** A Redis that could lose conversations is refused, with the file and the line to change. */
import { expect, onTestFinished, test } from "vitest";
import { newKey } from "#infra/redis/keyring.ts";
import { assertSafe, findUnsafe } from "#infra/redis/safety.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { eyrie } from "#test/apps/cli/eyrie.ts";
import { Process } from "#test/platform/platform.ts";
import { RedisServer, type RedisSettings } from "#test/redis/server.ts";

const silent = (): void => undefined;

async function serve(
  settings: RedisSettings = {},
): Promise<{ readonly server: RedisServer; readonly client: ScriptedRedis }> {
  const server = await RedisServer.start(settings);
  const client = await server.client();
  onTestFinished(async () => {
    client.disconnect();
    await server.stop();
  });
  return { server, client };
}

/** Runs the check with one server in both roles; returns what it refuses by and what it warns of. */
async function check(
  truth: ScriptedRedis,
  production: boolean,
  state: ScriptedRedis = truth,
): Promise<{ readonly refused: unknown; readonly warned: unknown[] }> {
  const warned: unknown[] = [];
  const warn = (_event: string, fields?: object): void => void warned.push(fields);
  const log = { debug: silent, info: silent, warn, error: silent };
  try {
    await assertSafe({ truth, state }, { production, log });
    return { refused: null, warned };
  } catch (error) {
    return { refused: error, warned };
  }
}

test("a safe one is fit for production", async () => {
  const { client } = await serve();
  expect(await check(client, true)).toEqual({ refused: null, warned: [] });
});

const unsafe: readonly (readonly [found: string, wanted: RegExp])[] = [
  ["appendonly no", /^appendonly yes$/],
  ["appendfsync everysec", /^appendfsync always$/],
  ["no-appendfsync-on-rewrite yes", /^no-appendfsync-on-rewrite no$/],
  ["maxmemory 0", /^maxmemory <bytes/],
];

test.each(unsafe)("%s: refused in production, a warning in the demo", async (found, wanted) => {
  const [directive = "", value = ""] = found.split(" ");
  const { client, server } = await serve({ [directive]: value });
  const safe = await serve();
  const { refused } = await check(client, true, safe.client);
  expect(refused).toMatchObject({
    code: "REDIS_UNSAFE",
    values: { role: "truth", file: server.file, found, wanted: expect.stringMatching(wanted) },
  });
  const { refused: none, warned } = await check(client, false, safe.client);
  expect(none).toBeNull();
  expect(warned).toEqual([
    expect.objectContaining({ role: "truth", file: server.file, found, refused: "in production" }),
  ]);
});

test("truth that evicts is refused everywhere, state that evicts in production", async () => {
  const evicting = await serve({ "maxmemory-policy": "allkeys-lru" });
  const safe = await serve();
  const values = { found: "maxmemory-policy allkeys-lru", wanted: "maxmemory-policy noeviction" };
  for (const production of [false, true]) {
    const { refused } = await check(evicting.client, production, safe.client);
    expect(refused).toMatchObject({ code: "REDIS_UNSAFE", values: { role: "truth", ...values } });
  }
  const { refused } = await check(safe.client, true, evicting.client);
  expect(refused).toMatchObject({ code: "REDIS_UNSAFE", values: { role: "state", ...values } });
  expect((await check(safe.client, false, evicting.client)).warned).toHaveLength(1);
});

test("state may sync every second", async () => {
  const { client } = await serve({ appendfsync: "everysec" });
  expect(await findUnsafe(client, "state")).toEqual([]);
});

test("several lines are named at once", async () => {
  const { client } = await serve({ appendonly: "no", maxmemory: "0" });
  const { refused } = await check(client, true);
  expect(refused).toMatchObject({ values: { found: "appendonly no, maxmemory 0" } });
});

test.each([
  ["6.2.14", "7.0", "everywhere"],
  ["7.0.13", "7.0.14", "in production"],
  ["7.2.1", "7.2.2", "in production"],
])("version %s: %s is needed, %s", async (version, wanted, refused) => {
  const { client } = await serve();
  // No such server is at hand: a true one whose word about itself is changed.
  const info = client.info.bind(client);
  const older = Object.assign(Object.create(client) as ScriptedRedis, {
    info: async (section: string) =>
      (await info(section)).replace(/redis_version:\S+/, `redis_version:${version}`),
  });
  expect(await findUnsafe(older, "truth")).toEqual([
    expect.objectContaining({ found: `redis_version ${version}`, wanted, refused }),
  ]);
});

test("a user who may not look is told which right is missing", async () => {
  const { client, server } = await serve();
  await client.acl("SETUSER", "eyrie", "on", ">secret", "~*", "&*", "+@all", "-config");
  await client.auth("eyrie", "secret");
  const { refused } = await check(client, true);
  expect(refused).toMatchObject({
    values: { file: server.file, wanted: "user … +config|get +info" },
  });
  await client.auth("default", "");
});

test("worker, gateway, start and doctor look, and say it in one line", async () => {
  const { server } = await serve({ appendfsync: "everysec" });
  const environment = {
    REDIS_URL: server.url,
    STATE_REDIS_URL: server.url,
    EYRIE_PROFILE: "production",
    EYRIE_KEYS: newKey(),
    EYRIE_LOG_LEVEL: "silent",
    DISCORD_TOKEN: "unused",
  };
  const line = new RegExp(
    `^REDIS_UNSAFE: .*truth.*${server.file}.*appendfsync everysec.*appendfsync always`,
    "m",
  );
  for (const process of ["worker", "gateway"]) {
    const child = new Process(`apps/${process}/main.ts`, environment);
    await expect(child.ready()).rejects.toThrow("exit 1");
    expect(child.output).toMatch(line);
  }
  const start = await eyrie(["start"], { environment });
  expect([start.code, start.err]).toEqual([1, expect.stringMatching(line)]);
  const doctor = await eyrie(["doctor"], { environment });
  expect(doctor.code).toBe(1);
  expect(doctor.out).toMatch(
    /✗ Redis \(truth\)[\s\S]*appendfsync everysec[\s\S]*✓ Redis \(state\)/,
  );
  const demo = await eyrie(["doctor"], { environment: { ...environment, EYRIE_PROFILE: "demo" } });
  expect(demo.code).toBe(0);
  expect(demo.out).toMatch(/· Redis \(truth\)/);
}, 120_000);
