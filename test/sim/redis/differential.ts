/**
 * The model of Redis against a real redis-server: the same random calls, then the same replies and
 * the same keys, values and lives. Times differ by nature, so scores that are times are passed over
 * and lives may differ by what a slow machine takes.
 */
import assert from "node:assert/strict";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { defineScripts } from "#infra/redis/scripts.ts";
import { Random } from "../random.ts";
import { anyKey, type Call, drawCall, scriptNames, suffix, timedKeys } from "./calls.ts";
import { runCommand } from "./commands.ts";
import { type Lua, parseScript, type Script } from "./lua.ts";
import { type Reply, Store, type Value } from "./store.ts";

const callsMax = 10;
const lifeMsMax = 40_000;
/** Sequences that are sent at once. */
const page = 50;

type Step =
  | { readonly kind: "call"; readonly call: Call; readonly full: boolean }
  | { readonly kind: "command"; readonly args: readonly string[] };

/** Every script as shipped, by its method's name. */
export function shippedScripts(): ReadonlyMap<string, { script: Script; lua: string }> {
  const found = new Map<string, { script: Script; lua: string }>();
  const define = (name: string, { lua, numberOfKeys }: { lua: string; numberOfKeys?: number }) => {
    found.set(name, { script: parseScript(name, lua, numberOfKeys), lua });
  };
  defineScripts({ defineCommand: define } as unknown as ScriptedRedis);
  return found;
}

/** Keys, values and lives, as a script on the real server tells them. */
const dumpLua = `#!lua
local dump = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local value
  if kind == 'string' then value = { redis.call('GET', key) } end
  if kind == 'list' then value = redis.call('LRANGE', key, 0, -1) end
  if kind == 'hash' then value = redis.call('HGETALL', key) end
  if kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  dump[#dump + 1] = { key, kind, redis.call('PTTL', key), value }
end
return dump`;

interface Row {
  readonly key: string;
  readonly kind: string;
  readonly lifeMs: number;
  readonly value: readonly string[];
}

export interface Comparison {
  readonly sequences: number;
  readonly calls: number;
  /** Replies that were not a refusal or error: else nothing much was compared. */
  readonly effective: number;
}

/** @throws AssertionError with the sequence at the first difference */
export async function compare(
  real: ScriptedRedis,
  lua: Lua,
  options: { readonly script: string; readonly sequences: number; readonly seed: number },
): Promise<Comparison> {
  const scripts = shippedScripts();
  for (const { lua: code } of scripts.values()) await real.script("LOAD", code);
  let calls = 0;
  let effective = 0;
  for (let done = 0; done < options.sequences; done += page) {
    const count = Math.min(page, options.sequences - done);
    const sequences = Array.from({ length: count }, (_, index) =>
      drawSequence(new Random(options.seed * 1_000_003 + done + index), options.script),
    );
    const truths = await runReal(real, scripts, sequences);
    for (const [index, steps] of sequences.entries()) {
      const truth = truths[index]!;
      const model = runModel(lua, scripts, steps);
      const words = JSON.stringify({ seed: options.seed, sequence: done + index, steps });
      assert.deepEqual(model.replies.map(comparable), truth.replies.map(comparable), words);
      assertSameKeys(model.rows, truth.rows, words);
      calls += steps.length;
      effective += model.replies.filter(isEffective).length;
    }
  }
  return { sequences: options.sequences, calls, effective };
}

function drawSequence(random: Random, script: string): Step[] {
  // Most begin with what a conversation needs for anything to happen.
  const scene: Step[] = random.chance(0.8)
    ? [call(random, "appendTurn"), call(random, "claimConversation")]
    : [];
  const more = Array.from({ length: 2 + random.below(callsMax - 2) }, (): Step => {
    if (random.chance(0.04)) return { kind: "command", args: ["DEL", anyKey(random)] };
    if (random.chance(0.01)) return { kind: "command", args: ["SET", anyKey(random), "wrong"] };
    if (random.chance(0.01)) return { kind: "command", args: ["RPUSH", anyKey(random), "wrong"] };
    return call(random, random.chance(0.5) ? script : random.pick(scriptNames));
  });
  return [...scene, ...more];
}

function call(random: Random, script: string): Step {
  return { kind: "call", call: drawCall(random, script), full: random.chance(0.04) };
}

async function runReal(
  real: ScriptedRedis,
  scripts: ReturnType<typeof shippedScripts>,
  sequences: readonly (readonly Step[])[],
): Promise<{ readonly replies: Reply[]; readonly rows: Row[] }[]> {
  const pipeline = real.pipeline();
  const wanted: ("reply" | "dump" | null)[] = [];
  const send = (
    what: "reply" | "dump" | null,
    name: string,
    ...args: (string | Buffer)[]
  ): void => {
    pipeline.callBuffer(name, ...args);
    wanted.push(what);
  };
  for (const steps of sequences) {
    send(null, "FLUSHALL");
    for (const step of steps) {
      if (step.kind === "command") {
        const [name = "", ...args] = step.args;
        send("reply", name, ...bytes(args));
        continue;
      }
      const { args, keys, script } = step.call;
      const lua = scripts.get(script)?.lua ?? "";
      if (step.full) send(null, "CONFIG", "SET", "maxmemory", "1");
      send("reply", "EVAL", lua, String(keys.length), ...bytes(keys), ...bytes(args));
      if (step.full) send(null, "CONFIG", "SET", "maxmemory", "0");
    }
    send("dump", "EVAL", dumpLua, "0");
  }
  const answers = (await pipeline.exec()) ?? [];
  const results: { replies: Reply[]; rows: Row[] }[] = [];
  let replies: Reply[] = [];
  for (const [index, [error, answer]] of answers.entries()) {
    const reply: Reply = error === null ? latin1(answer) : { error: error.message };
    if (wanted[index] === "reply") replies.push(reply);
    if (wanted[index] !== "dump") continue;
    results.push({ replies, rows: (reply as Reply[][]).map(rowOf) });
    replies = [];
  }
  return results;
}

function bytes(values: readonly string[]): Buffer[] {
  return values.map((value) => Buffer.from(value, "latin1"));
}

function latin1(answer: unknown): Reply {
  if (Buffer.isBuffer(answer)) return answer.toString("latin1");
  return Array.isArray(answer) ? answer.map(latin1) : (answer as Reply);
}

function text(reply: Reply | undefined): string {
  return typeof reply === "string" ? reply : "";
}

function rowOf([key, kind, lifeMs, value]: readonly Reply[]): Row {
  return {
    key: text(key),
    kind: text(kind),
    lifeMs: Number(lifeMs),
    value: Array.isArray(value) ? value.map(text) : [],
  };
}

function runModel(
  lua: Lua,
  scripts: ReturnType<typeof shippedScripts>,
  steps: readonly Step[],
): { readonly replies: Reply[]; readonly rows: Row[] } {
  const store = new Store();
  store.nowMs = Date.now();
  const replies = steps.map((step): Reply => {
    if (step.kind === "command") return runCommand(store, step.args);
    const { args, keys, script } = step.call;
    const known = scripts.get(script)!.script;
    const count = known.numberOfKeys === undefined ? [String(keys.length)] : [];
    store.full = step.full;
    const reply = lua.run(known, store, [...count, ...keys, ...args]);
    store.full = false;
    return reply;
  });
  const rows = store.keys().map((key): Row => {
    const { expiresMs, value } = store.entry(key)!;
    const lifeMs = expiresMs === null ? -1 : expiresMs - store.nowMs;
    return { key, kind: value.kind, lifeMs, value: flat(value) };
  });
  return { replies, rows };
}

function flat(value: Value): string[] {
  switch (value.kind) {
    case "string":
      return [value.value];
    case "list":
      return [...value.values];
    case "hash":
      return [...value.fields].flat();
    case "zset": {
      const ordered = [...value.scores].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1));
      return ordered.flatMap(([member, score]) => [member, String(score)]);
    }
  }
}

/** A reply without what two servers cannot agree on. */
function comparable(reply: Reply): unknown {
  if (Array.isArray(reply)) {
    const [kind, ms, values] = reply;
    // Of copy-conversation: { type, ms left, values }
    if (typeof kind === "string" && typeof ms === "number" && Array.isArray(values)) {
      const told = values.map(text);
      const same =
        kind === "hash"
          ? pairs(told)
              .map((pair) => pair.join("\0"))
              .sort()
          : told;
      return [kind, Math.sign(ms), same];
    }
    // { -4, ms left }
    return reply[0] === -4 && reply.length === 2
      ? [-4, Number(reply[1]) > 0]
      : reply.map(comparable);
  }
  if (reply === null || typeof reply !== "object") return reply;
  if ("ok" in reply) return reply.ok;
  // Where in the script it happened is told in many ways.
  return { error: reply.error.replace(/ script: .*$/, "").replace(/\.$/, "") };
}

function isEffective(reply: Reply): boolean {
  const first = Array.isArray(reply) ? reply[0] : reply;
  return first !== null && typeof first !== "object" && Number(first) > 0;
}

function assertSameKeys(model: readonly Row[], truth: readonly Row[], words: string): void {
  const plain = (rows: readonly Row[]): unknown => {
    const sorted = rows.toSorted((a, b) => (a.key < b.key ? -1 : 1));
    return sorted.map(({ key, kind, value }) => ({
      key,
      kind,
      value: comparableValue(key, kind, value),
    }));
  };
  assert.deepEqual(plain(model), plain(truth), words);
  const lives = new Map(truth.map(({ key, lifeMs }) => [key, lifeMs]));
  for (const { key, lifeMs } of model) {
    const real = lives.get(key) ?? -2;
    const same = lifeMs === -1 ? real === -1 : Math.abs(real - lifeMs) < lifeMsMax;
    assert.ok(same, `${key} lives ${lifeMs} ms in the model, ${real} ms in Redis\n${words}`);
  }
}

function comparableValue(key: string, kind: string, value: readonly string[]): unknown {
  if (kind === "hash") return new Map(pairs(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  if (kind === "zset" && timedKeys.has(suffix(key)))
    return new Set(pairs(value).map(([name]) => name));
  return value;
}

function pairs(flattened: readonly string[]): [string, string][] {
  return Array.from({ length: flattened.length / 2 }, (_, index) => [
    flattened[2 * index]!,
    flattened[2 * index + 1]!,
  ]);
}
