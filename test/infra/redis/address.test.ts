import { describe, expect, test } from "vitest";
import { loadConfig } from "#infra/config/config.ts";
import { parseAddress } from "#infra/redis/address.ts";
import { withoutPassword } from "#infra/redis/client.ts";
import { RedisServer } from "#test/redis/server.ts";

describe("an address", () => {
  test("of sentinels: hosts with and without ports, a name, both passwords", () => {
    const url = "redis+sentinel://eyrie:p%40ss@one:7000,two,[::1]:7001/nest?sentinelPassword=s";
    expect(parseAddress(url)).toEqual({
      kind: "sentinel",
      hosts: [
        { host: "one", port: 7000 },
        { host: "two", port: 26_379 },
        { host: "::1", port: 7001 },
      ],
      name: "nest",
      login: { username: "eyrie", password: "p@ss" },
      sentinelPassword: "s",
    });
    expect(withoutPassword(url)).not.toContain("p%40ss");
  });

  test("of a cluster with TLS", () => {
    expect(parseAddress("rediss+cluster://one,two:7000")).toMatchObject({
      kind: "cluster",
      hosts: [
        { host: "one", port: 6379 },
        { host: "two", port: 7000 },
      ],
      login: { tls: {} },
    });
  });

  test.each(["redis://h:1/2", "rediss://u:p@h", "unix:/a/b", "/a/b"])(
    "of one server: %s",
    (url) => {
      expect(parseAddress(url)?.kind).toBe("server");
    },
  );

  test("whose server follows another now is connected to anew: there may be a new one", async () => {
    const server = await RedisServer.start();
    const [client, other] = [await server.client(), await server.client()];
    try {
      const before = await client.client("ID");
      await other.replicaof("127.0.0.1", "1");
      await expect(client.set("key", "value")).rejects.toThrow("READONLY");
      expect(await client.client("ID")).not.toBe(before);
    } finally {
      for (const one of [client, other]) one.disconnect();
      await server.stop();
    }
  });

  test.each([
    "redis+sentinel://one,two",
    "redis+cluster://one/name",
    "redis+sentinel:///name",
    "redis+sentinel://one:port/name",
    "redis+ring://one",
    "http://one",
  ])("is refused by the configuration: %s", (url) => {
    expect(parseAddress(url)).toBeNull();
    expect(() => loadConfig({ REDIS_URL: url })).toThrow("CONFIG_INVALID");
  });
});
