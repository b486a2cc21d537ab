/**
 * The commands of Redis that Eyrie uses, on a {@link Store}. One test holds them against the real
 * server, script for script (`differential.test.ts`).
 */
import { Refusal, type Reply, type Store } from "./store.ts";

const notInteger = "ERR value is not an integer or out of range";
const noFloat = "ERR value is not a valid float";
export const outOfMemory = "OOM command not allowed when used memory > 'maxmemory'.";

/** Refused when memory is out, unless a script may do it all the same. */
const growing: ReadonlySet<string> = new Set("COPY HINCRBY HSET HSETNX RPUSH SET ZADD".split(" "));

/** Runs one command; an error is a reply too. `mayGrow`: memory does not matter. */
export function runCommand(
  store: Store,
  [name = "", ...args]: readonly string[],
  mayGrow = false,
): Reply {
  const upper = name.toUpperCase();
  const command = commands[upper];
  if (command === undefined) return { error: `ERR unknown command '${name}'` };
  if (args.length < command.args) {
    return { error: `ERR wrong number of arguments for '${name.toLowerCase()}' command` };
  }
  if (store.full && !mayGrow && growing.has(upper)) return { error: outOfMemory };
  try {
    return command.run(store, args);
  } catch (error) {
    if (error instanceof Refusal) return { error: error.message };
    throw error;
  }
}

interface Command {
  /** Arguments at least. */
  readonly args: number;
  readonly run: (store: Store, args: readonly string[]) => Reply;
}

function integer(text: string | undefined): number {
  if (text === undefined || !/^-?(0|[1-9]\d*)$/.test(text)) throw new Refusal(notInteger);
  return Number(text);
}

function score(text: string | undefined): number {
  if (text === "-inf") return -Infinity;
  if (text === "+inf" || text === "inf") return Infinity;
  const number = Number(text);
  if (text === undefined || text === "" || Number.isNaN(number)) throw new Refusal(noFloat);
  return number;
}

/** `from` and `to` as Redis counts them, both included: negative ones from the end. */
function range<T>(items: readonly T[], from: number, to: number): T[] {
  const start = from < 0 ? Math.max(0, items.length + from) : from;
  const end = to < 0 ? items.length + to : to;
  return items.slice(start, end + 1);
}

function ordered(scores: ReadonlyMap<string, number>): [member: string, score: number][] {
  return [...scores].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1));
}

function flat(pairs: readonly (readonly [string, string | number])[]): string[] {
  return pairs.flatMap(([name, value]) => [name, String(value)]);
}

function pairsOf(args: readonly string[]): [string, string][] {
  if (args.length % 2 !== 0) throw new Refusal("ERR wrong number of arguments");
  return Array.from({ length: args.length / 2 }, (_, i) => [args[2 * i]!, args[2 * i + 1]!]);
}

function expire(store: Store, key: string, ms: number): Reply {
  const entry = store.entry(key);
  if (entry === undefined) return 0;
  entry.expiresMs = store.nowMs + ms;
  if (ms <= 0) store.delete(key);
  return 1;
}

function leftMs(store: Store, key: string, unitMs: number): Reply {
  const entry = store.entry(key);
  if (entry === undefined) return -2;
  if (entry.expiresMs === null) return -1;
  return Math.floor((entry.expiresMs - store.nowMs + unitMs / 2) / unitMs);
}

function trimmed(store: Store, key: string, from: number, to: number): Reply {
  const list = store.of(key, "list");
  if (list === undefined) return { ok: "OK" };
  list.values.splice(0, Infinity, ...range(list.values, from, to));
  store.tidy(key);
  return { ok: "OK" };
}

/** Removes `item` up to `count` times, from the head. */
function removed(
  store: Store,
  key: string,
  { count, item }: { count: number; item: string },
): Reply {
  if (count < 1) throw new Refusal("ERR only from the head");
  const values = store.of(key, "list")?.values ?? [];
  let gone = 0;
  for (let at = values.indexOf(item); at >= 0 && gone < count; at = values.indexOf(item)) {
    values.splice(at, 1);
    gone++;
  }
  store.tidy(key);
  return gone;
}

function replaced(store: Store, key: string, { at, item }: { at: number; item: string }): Reply {
  const list = store.of(key, "list");
  if (list === undefined) throw new Refusal("ERR no such key");
  const index = at < 0 ? list.values.length + at : at;
  if (index < 0 || index >= list.values.length) throw new Refusal("ERR index out of range");
  list.values[index] = item;
  return { ok: "OK" };
}

function popped(store: Store, key: string, end: "shift" | "pop"): Reply {
  const item = store.of(key, "list")?.values[end]() ?? null;
  store.tidy(key);
  return item;
}

function set(store: Store, [key = "", value = "", ...options]: readonly string[]): Reply {
  let expiresMs: number | null = null;
  for (let index = 0; index < options.length; index += 2) {
    const unit = options[index]?.toUpperCase();
    if (unit === "KEEPTTL") {
      expiresMs = store.entry(key)?.expiresMs ?? null;
      continue;
    }
    if (unit !== "EX" && unit !== "PX") throw new Refusal("ERR syntax error");
    expiresMs = store.nowMs + integer(options[index + 1]) * (unit === "EX" ? 1000 : 1);
  }
  store.put(key, { kind: "string", value }, expiresMs);
  return { ok: "OK" };
}

/** One page holds all of it. */
function scanned(items: readonly string[], args: readonly string[], perItem: 1 | 2): Reply {
  const match = args[args.findIndex((arg) => arg.toUpperCase() === "MATCH") + 1];
  const asked = args.some((arg) => arg.toUpperCase() === "MATCH");
  const pattern = asked && match !== undefined ? globbed(match) : /^/;
  const found = items.filter((_, index) => pattern.test(items[index - (index % perItem)]!));
  return ["0", found];
}

function globbed(glob: string): RegExp {
  const escaped = glob.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", "[^]*").replaceAll("?", "[^]")}$`);
}

const commands: Readonly<Record<string, Command>> = {
  TIME: {
    args: 0,
    run: ({ nowMs }) => [
      String(Math.floor(nowMs / 1000)),
      String(Math.floor((nowMs % 1000) * 1000)),
    ],
  },
  PING: { args: 0, run: () => ({ ok: "PONG" }) },
  FLUSHALL: {
    args: 0,
    run: (store) => {
      store.clear();
      return { ok: "OK" };
    },
  },
  TYPE: { args: 1, run: (store, [key = ""]) => ({ ok: store.value(key)?.kind ?? "none" }) },
  EXISTS: {
    args: 1,
    run: (store, keys) => keys.filter((key) => store.value(key) !== undefined).length,
  },
  DEL: { args: 1, run: (store, keys) => keys.filter((key) => store.delete(key)).length },
  UNLINK: { args: 1, run: (store, keys) => keys.filter((key) => store.delete(key)).length },
  EXPIRE: { args: 2, run: (store, [key = "", s]) => expire(store, key, integer(s) * 1000) },
  PEXPIRE: { args: 2, run: (store, [key = "", ms]) => expire(store, key, integer(ms)) },
  TTL: { args: 1, run: (store, [key = ""]) => leftMs(store, key, 1000) },
  PTTL: { args: 1, run: (store, [key = ""]) => leftMs(store, key, 1) },
  PERSIST: {
    args: 1,
    run: (store, [key = ""]) => {
      const entry = store.entry(key);
      if (entry === undefined || entry.expiresMs === null) return 0;
      entry.expiresMs = null;
      return 1;
    },
  },
  RENAME: {
    args: 2,
    run: (store, [from = "", to = ""]) => {
      const entry = store.entry(from);
      if (entry === undefined) throw new Refusal("ERR no such key");
      store.delete(from);
      store.put(to, entry.value, entry.expiresMs);
      return { ok: "OK" };
    },
  },
  COPY: {
    args: 2,
    run: (store, [from = "", to = "", option]) => {
      const entry = store.entry(from);
      const taken = store.value(to) !== undefined && option?.toUpperCase() !== "REPLACE";
      if (entry === undefined || taken) return 0;
      store.put(to, structuredClone(entry.value), entry.expiresMs);
      return 1;
    },
  },
  SCAN: {
    args: 1,
    run: (store, [, ...options]) => scanned(store.keys().sort(), options, 1),
  },
  GETDEL: {
    args: 1,
    run: (store, [key = ""]) => {
      const value = store.of(key, "string")?.value ?? null;
      store.delete(key);
      return value;
    },
  },
  GET: { args: 1, run: (store, [key = ""]) => store.of(key, "string")?.value ?? null },
  SET: { args: 2, run: set },
  LLEN: { args: 1, run: (store, [key = ""]) => store.of(key, "list")?.values.length ?? 0 },
  LINDEX: {
    args: 2,
    run: (store, [key = "", at]) => store.of(key, "list")?.values.at(integer(at)) ?? null,
  },
  LRANGE: {
    args: 3,
    run: (store, [key = "", from, to]) =>
      range(store.of(key, "list")?.values ?? [], integer(from), integer(to)),
  },
  LTRIM: {
    args: 3,
    run: (store, [key = "", from, to]) => trimmed(store, key, integer(from), integer(to)),
  },
  RPUSH: {
    args: 2,
    run: (store, [key = "", ...values]) => store.make(key, "list").values.push(...values),
  },
  LREM: {
    args: 3,
    run: (store, [key = "", count, item = ""]) =>
      removed(store, key, { count: integer(count), item }),
  },
  LSET: {
    args: 3,
    run: (store, [key = "", at, item = ""]) => replaced(store, key, { at: integer(at), item }),
  },
  LPOP: { args: 1, run: (store, [key = ""]) => popped(store, key, "shift") },
  RPOP: { args: 1, run: (store, [key = ""]) => popped(store, key, "pop") },
  HGET: {
    args: 2,
    run: (store, [key = "", field = ""]) => store.of(key, "hash")?.fields.get(field) ?? null,
  },
  HMGET: {
    args: 2,
    run: (store, [key = "", ...fields]) => {
      const hash = store.of(key, "hash");
      return fields.map((field) => hash?.fields.get(field) ?? null);
    },
  },
  HGETALL: {
    args: 1,
    run: (store, [key = ""]) => flat([...(store.of(key, "hash")?.fields ?? [])]),
  },
  HVALS: {
    args: 1,
    run: (store, [key = ""]) => [...(store.of(key, "hash")?.fields.values() ?? [])],
  },
  HSET: {
    args: 3,
    run: (store, [key = "", ...args]) => {
      const pairs = pairsOf(args);
      const { fields } = store.make(key, "hash");
      const added = pairs.filter(([field]) => !fields.has(field)).length;
      for (const [field, value] of pairs) fields.set(field, value);
      return added;
    },
  },
  HSETNX: {
    args: 3,
    run: (store, [key = "", field = "", value = ""]) => {
      const { fields } = store.make(key, "hash");
      if (fields.has(field)) return 0;
      fields.set(field, value);
      return 1;
    },
  },
  HINCRBY: {
    args: 3,
    run: (store, [key = "", field = "", by]) => {
      const before = store.of(key, "hash")?.fields.get(field) ?? "0";
      if (!/^-?\d+$/.test(before)) throw new Refusal("ERR hash value is not an integer");
      const now = Number(before) + integer(by);
      store.make(key, "hash").fields.set(field, String(now));
      return now;
    },
  },
  HDEL: {
    args: 2,
    run: (store, [key = "", ...fields]) => {
      const hash = store.of(key, "hash");
      const gone = fields.filter((field) => hash?.fields.delete(field) === true).length;
      store.tidy(key);
      return gone;
    },
  },
  HSCAN: {
    args: 2,
    run: (store, [key = "", , ...options]) =>
      scanned(flat([...(store.of(key, "hash")?.fields ?? [])]), options, 2),
  },
  ZADD: {
    args: 3,
    run: (store, [key = "", ...args]) => {
      const pairs = pairsOf(args).map(([points, member]) => [member, score(points)] as const);
      const { scores } = store.make(key, "zset");
      const added = pairs.filter(([member]) => !scores.has(member)).length;
      for (const [member, points] of pairs) scores.set(member, points);
      return added;
    },
  },
  ZREM: {
    args: 2,
    run: (store, [key = "", ...members]) => {
      const zset = store.of(key, "zset");
      const gone = members.filter((member) => zset?.scores.delete(member) === true).length;
      store.tidy(key);
      return gone;
    },
  },
  ZSCORE: {
    args: 2,
    run: (store, [key = "", member = ""]) => {
      const points = store.of(key, "zset")?.scores.get(member);
      return points === undefined ? null : String(points);
    },
  },
  ZRANGE: {
    args: 3,
    run: (store, [key = "", from, to, option]) => {
      const pairs = ordered(store.of(key, "zset")?.scores ?? new Map());
      const found = range(pairs, integer(from), integer(to));
      return option?.toUpperCase() === "WITHSCORES" ? flat(found) : found.map(([member]) => member);
    },
  },
  ZREVRANGE: {
    args: 3,
    run: (store, [key = "", from, to]) => {
      const pairs = ordered(store.of(key, "zset")?.scores ?? new Map()).toReversed();
      return range(pairs, integer(from), integer(to)).map(([member]) => member);
    },
  },
  ZRANGEBYSCORE: {
    args: 3,
    run: (store, [key = "", from, to, , offset, count]) => {
      const zset = store.of(key, "zset");
      if (zset === undefined) return [];
      const [low, high] = [score(from), score(to)];
      const found = ordered(zset.scores).filter(([, points]) => points >= low && points <= high);
      const page =
        count === undefined ? found : found.slice(integer(offset)).slice(0, integer(count));
      return page.map(([member]) => member);
    },
  },
  ZSCAN: {
    args: 2,
    run: (store, [key = "", , ...options]) =>
      scanned(flat(ordered(store.of(key, "zset")?.scores ?? new Map())), options, 2),
  },
};
