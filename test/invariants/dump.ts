/** Everything that a Redis holds, as values: what checkers look at and what two servers are compared by. */
import type { Redis } from "ioredis";

export type StoredValue =
  | { readonly kind: "string"; readonly value: Buffer }
  | { readonly kind: "list"; readonly values: readonly Buffer[] }
  | { readonly kind: "hash"; readonly fields: ReadonlyMap<string, Buffer> }
  /** In the server's order: by score, then by member. */
  | { readonly kind: "zset"; readonly scores: ReadonlyMap<string, number> };

/** Key → value. */
export type Dump = ReadonlyMap<string, StoredValue>;

/** Keys that match, sorted. Values of kinds that Eyrie's own rooms do not use (BullMQ's) are left out. */
export async function dumpRedis(redis: Redis, match = "eyrie:*"): Promise<Dump> {
  const keys = new Set<string>();
  for await (const page of redis.scanStream({ match, count: 1000 })) {
    for (const key of page as string[]) keys.add(key);
  }
  const dump = new Map<string, StoredValue>();
  for (const key of [...keys].sort()) {
    const value = await readValue(redis, key);
    if (value !== null) dump.set(key, value);
  }
  return dump;
}

/** Null when it has expired since its name was read. */
async function readValue(redis: Redis, key: string): Promise<StoredValue | null> {
  switch (await redis.type(key)) {
    case "string": {
      const value = await redis.getBuffer(key);
      return value === null ? null : { kind: "string", value };
    }
    case "list":
      return { kind: "list", values: await redis.lrangeBuffer(key, 0, -1) };
    case "hash": {
      const fields = Object.entries(await redis.hgetallBuffer(key));
      return { kind: "hash", fields: new Map(fields.sort(byName)) };
    }
    case "zset": {
      const flat = await redis.zrange(key, "0", "-1", "WITHSCORES");
      const pairs = flat.flatMap((member, index) =>
        index % 2 === 0 ? [[member, Number(flat[index + 1])] as const] : [],
      );
      return { kind: "zset", scores: new Map(pairs) };
    }
    default:
      return null;
  }
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}
