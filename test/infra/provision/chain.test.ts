import { createHash } from "node:crypto";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { provisionRedis } from "#infra/redis/provision.ts";
import { connect, provision, readableLog, temporaryFolder } from "./place.ts";

/** What apt says when there is no way out to its servers. */
const noNetwork = /resolving|resolve|connect|timed out|Failed to fetch/i;

/** What the server says about itself. */
async function settings(url: string): Promise<Record<string, unknown>> {
  const names = ["appendonly", "appendfsync", "maxmemory-policy", "save", "port", "dir"];
  // In RESP 3 the reply is a map; flat pairs in RESP 2.
  const reply: unknown = await connect(url).call("CONFIG", "GET", ...names);
  const flat = Array.isArray(reply) ? reply.flat() : Object.entries(reply as object).flat();
  return Object.fromEntries(names.map((name) => [name, flat[flat.indexOf(name) + 1]]));
}

describe("where a Redis comes from", () => {
  test("a URL that is given wins, and is not ours to stop", async () => {
    const dataDirectory = await temporaryFolder();
    const first = await provision({ dataDirectory, kinds: ["binary"] });
    const given = await provision({ dataDirectory, url: first.url });
    expect(given).toMatchObject({ kind: "url", url: first.url, durable: true });
    await given.stop();
    expect(await connect(first.url).ping()).toBe("PONG");
  });

  test("a program on PATH runs with the settings of its role", async () => {
    const dataDirectory = await temporaryFolder();
    const truth = await provision({ dataDirectory, role: "truth", kinds: ["binary"] });
    const state = await provision({ dataDirectory, role: "state", kinds: ["binary"] });
    expect(truth).toMatchObject({ kind: "binary", durable: true });
    const common = { appendonly: "yes", "maxmemory-policy": "noeviction", save: "", port: "0" };
    expect(await settings(truth.url)).toEqual({
      ...common,
      appendfsync: "always",
      dir: join(dataDirectory, "redis", "truth"),
    });
    expect(await settings(state.url)).toEqual({
      ...common,
      appendfsync: "everysec",
      dir: join(dataDirectory, "redis", "state"),
    });
  });

  test("a program that is too old is named and passed over", async () => {
    const folder = await temporaryFolder();
    const old = join(folder, "redis-server");
    await writeFile(old, "#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n");
    await chmod(old, 0o755);
    const log = readableLog();
    const options = { role: "truth", dataDirectory: folder, searchPath: folder, log } as const;
    await expect(provisionRedis({ ...options, kinds: ["binary"] })).rejects.toMatchObject({
      code: "REDIS_NOT_FOUND",
    });
    expect(log.lines).toEqual([expect.stringContaining(`${old} is 6.0.16`)]);
  });

  test("Debian's package is unpacked by an ordinary user, and found again", async ({ skip }) => {
    const dataDirectory = await temporaryFolder();
    const log = readableLog();
    const options = { role: "state", dataDirectory, kinds: ["debian"], log } as const;
    const redis = await provision(options).catch((error: unknown) => {
      const text = log.lines.join("\n");
      skip(log.lines.length === 0, "no apt here");
      skip(noNetwork.test(text), `no package server within reach: ${text}`);
      throw error;
    });
    expect(redis).toMatchObject({ kind: "debian", durable: true });
    const info = await connect(redis.url).info("server");
    expect(info).toContain(`executable:${join(dataDirectory, "redis-debian")}`);
    await redis.stop();

    const again = await provision({ ...options, log: readableLog() });
    expect(await connect(again.url).ping()).toBe("PONG");
    expect(log.lines.filter((line) => line.includes("unpacking"))).toHaveLength(1);
  }, 120_000);

  test("the JavaScript server says that it forgets", async () => {
    const dataDirectory = await temporaryFolder();
    const log = readableLog();
    const redis = await provision({ dataDirectory, kinds: ["javascript"], log });
    expect(redis).toMatchObject({ kind: "javascript", durable: false });
    expect(log.lines).toEqual([expect.stringMatching(/^warn: .*LOST/)]);
    const client = connect(redis.url);
    // The head line of all our scripts, and the hash that ioredis will ask for.
    const script = "#!lua\nreturn redis.call('INCRBY', KEYS[1], 2)";
    const hash = createHash("sha1").update(script).digest("hex");
    expect(await client.script("LOAD", script)).toBe(hash);
    expect(await client.eval(script, 1, "n")).toBe(2);
    expect(await client.evalsha(hash, 1, "n")).toBe(4);
  });

  test("the JavaScript server is refused in production", async () => {
    const options = { role: "truth", log: readableLog(), kinds: ["javascript"] } as const;
    const dataDirectory = await temporaryFolder();
    await expect(
      provisionRedis({ ...options, dataDirectory, production: true }),
    ).rejects.toMatchObject({ code: "REDIS_NOT_FOUND" });
  });

  test("when there is no way at all, REDIS_NOT_FOUND", async () => {
    const options = { role: "truth", log: readableLog(), searchPath: "" } as const;
    const dataDirectory = await temporaryFolder();
    await expect(
      provisionRedis({ ...options, dataDirectory, kinds: ["binary", "debian"] }),
    ).rejects.toMatchObject({ code: "REDIS_NOT_FOUND", values: { role: "truth" } });
  });

  test("a given URL where nobody answers is REDIS_UNAVAILABLE, not a reason to go on", async () => {
    const options = { role: "truth", log: readableLog(), patienceMs: 500 } as const;
    const dataDirectory = await temporaryFolder();
    const url = join(dataDirectory, "nobody.sock");
    await expect(provisionRedis({ ...options, dataDirectory, url })).rejects.toMatchObject({
      code: "REDIS_UNAVAILABLE",
    });
  });
});
