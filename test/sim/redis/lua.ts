/**
 * The shipped scripts in Lua 5.1 compiled to WebAssembly (lua-redis-wasm: PUC-Rio's interpreter with
 * the libraries that Redis adds). One engine for the whole program: scripts run one after another.
 *
 * The engine does not know Redis 7's first line, so what it says is judged here, and the line becomes
 * a comment. Comments are blanked, which keeps the line numbers of errors and saves half the time.
 */
import { type LuaEngine, load, type ReplyValue } from "lua-redis-wasm";
import type { Reply, Store } from "./store.ts";

export interface Script {
  readonly name: string;
  readonly numberOfKeys: number | undefined;
  readonly code: Buffer;
  /** `allow-oom`, `no-writes`; empty for a plain `#!lua`. */
  readonly flags: ReadonlySet<string>;
}

const notAllowed =
  "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'";

export function parseScript(name: string, lua: string, numberOfKeys?: number): Script {
  const [first = "", ...rest] = lua.split("\n");
  const shebang = /^#!lua(?: flags=([a-z,-]+))?$/.exec(first);
  if (shebang === null) throw new Error(`${name} does not begin with #!lua`);
  const code = ["", ...rest.map((line) => (line.startsWith("--") ? "" : line))].join("\n");
  const flags = new Set((shebang[1] ?? "").split(",").filter((flag) => flag !== ""));
  return { name, numberOfKeys, code: Buffer.from(code), flags };
}

/** What `redis.call` reaches while a script runs. */
interface Target {
  call: (args: readonly string[]) => Reply;
}

export class Lua {
  readonly #engine: LuaEngine;
  readonly #target: Target;

  private constructor(engine: LuaEngine, target: Target) {
    this.#engine = engine;
    this.#target = target;
  }

  static async open(): Promise<Lua> {
    const target: Target = { call: () => ({ error: "ERR no script is running" }) };
    const call = (args: Buffer[]): ReplyValue =>
      toLua(target.call(args.map((arg) => arg.toString("latin1"))));
    const module = await load({ profile: "redis-7.0" });
    const engine = module.create({ redisCall: call, redisPcall: call, log: () => undefined });
    return new Lua(engine, target);
  }

  /** Runs a script on a store, as EVAL would. */
  run(script: Script, store: Store, args: readonly string[]): Reply {
    const { flags } = script;
    if (store.full && !flags.has("allow-oom") && !flags.has("no-writes")) {
      return { error: notAllowed };
    }
    const [count, own] =
      script.numberOfKeys === undefined
        ? [Number(args[0]), args.slice(1)]
        : [script.numberOfKeys, args];
    // Admitted once, a script may do what it does.
    this.#target.call = (command) => store.run(command, true);
    const bytes = own.map((arg) => Buffer.from(arg, "latin1"));
    return fromLua(
      this.#engine.evalWithArgs(script.code, bytes.slice(0, count), bytes.slice(count)),
    );
  }
}

function toLua(reply: Reply): ReplyValue {
  if (reply === null || typeof reply === "number") return reply;
  if (typeof reply === "string") return Buffer.from(reply, "latin1");
  if (Array.isArray(reply)) return reply.map(toLua);
  if ("ok" in reply) return { ok: Buffer.from(reply.ok) };
  const [code = "ERR", ...rest] = reply.error.split(" ");
  return { err: Buffer.from(rest.join(" ")), code: Buffer.from(code) };
}

function fromLua(value: ReplyValue): Reply {
  if (value === null || typeof value === "number") return value;
  if (Buffer.isBuffer(value)) return value.toString("latin1");
  if (Array.isArray(value)) return value.map(fromLua);
  if (typeof value === "object" && "ok" in value) return { ok: value.ok.toString() };
  if (typeof value === "object" && "err" in value) {
    return { error: `${value.code?.toString() ?? "ERR"} ${value.err.toString()}` };
  }
  throw new TypeError(`a reply of a kind that no script gives: ${String(value)}`);
}
