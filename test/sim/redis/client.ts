/**
 * A client with ioredis's face and manners: commands in order, sent again after a broken connection
 * when their answer has not come (`maxRetriesPerRequest: null`), whether or not they have run.
 */
import { defineScripts, type ScriptedRedis } from "#infra/redis/scripts.ts";
import type { SimProcess } from "../process.ts";
import type { World } from "../world.ts";
import { parseScript, type Script } from "./lua.ts";
import type { Command, Peer, SimRedis } from "./server.ts";
import type { Reply } from "./store.ts";

/** Time until a broken connection stands again, as `retryStrategy` has it, ms. */
const reconnectMsMin = 50;
const reconnectMsMax = 1_000;

interface Pending {
  readonly commands: readonly Command[];
  readonly resolve: (replies: Reply[]) => void;
}

export interface ClientOptions {
  readonly world: World;
  readonly server: SimRedis;
  readonly process: SimProcess;
  /** The scripts' text may be changed on its way here: to see what a broken one does. */
  readonly edit?: (name: string, lua: string) => string;
}

type Listener = (channel: string, message: string) => void;

class Connection implements Peer {
  readonly name: string;
  readonly scripts = new Map<string, Script>();
  readonly #options: ClientOptions;
  readonly #pending: Pending[] = [];
  readonly #listeners: Listener[] = [];
  readonly #channels = new Set<string>();
  /** Connections since the start: what belongs to an earlier one comes to nothing. */
  #epoch = 0;
  #open = true;
  #lastArrivalMs = 0;
  #lastAnswerMs = 0;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.name = options.process.name;
    options.server.connect(this);
  }

  get isOpen(): boolean {
    return this.#open;
  }

  get process(): SimProcess {
    return this.#options.process;
  }

  send(commands: readonly Command[]): Promise<Reply[]> {
    return new Promise((resolve) => {
      const pending = { commands, resolve };
      this.#pending.push(pending);
      if (this.#open) this.#transmit(pending);
    });
  }

  async listen(channel: string, on: boolean): Promise<void> {
    if (on) this.#channels.add(channel);
    else this.#channels.delete(channel);
    const { server, world } = this.#options;
    const epoch = this.#epoch;
    world.after(server.latencyMs(), () => {
      if (epoch !== this.#epoch || !this.#open) return;
      if (on) server.subscribe(this, channel);
      else server.unsubscribe(this, channel);
    });
    await this.send([{ kind: "command", args: ["PING"] }]);
  }

  onMessage(listener: Listener): void {
    this.#listeners.push(listener);
  }

  message(channel: string, message: string): void {
    this.#options.process.deliver(() => {
      for (const listener of this.#listeners) listener(decodeText(channel), decodeText(message));
    });
  }

  cut(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#epoch++;
    const { server, world } = this.#options;
    server.disconnect(this);
    this.#reconnect(world.random.between(reconnectMsMin, reconnectMsMax));
  }

  #reconnect(afterMs: number): void {
    const { process, server, world } = this.#options;
    world.after(afterMs, () => {
      if (!process.alive) return;
      if (!server.up) return this.#reconnect(world.random.between(reconnectMsMin, reconnectMsMax));
      process.deliver(() => {
        this.#open = true;
        server.connect(this);
        for (const channel of this.#channels) server.subscribe(this, channel);
        for (const pending of [...this.#pending]) this.#transmit(pending);
      });
    });
  }

  #transmit(pending: Pending): void {
    const { server, world } = this.#options;
    const epoch = this.#epoch;
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, world.nowMs + server.latencyMs());
    world.after(this.#lastArrivalMs - world.nowMs, () => {
      if (epoch !== this.#epoch || !server.up) return;
      const replies = server.run(this, { commands: pending.commands });
      if (replies === null) return this.cut();
      this.#lastAnswerMs = Math.max(this.#lastAnswerMs, world.nowMs + server.latencyMs());
      world.after(this.#lastAnswerMs - world.nowMs, () => this.#answer(pending, epoch, replies));
    });
  }

  #answer(pending: Pending, epoch: number, replies: Reply[]): void {
    if (epoch !== this.#epoch) return;
    this.#options.process.deliver(() => {
      const index = this.#pending.indexOf(pending);
      if (index < 0) return;
      this.#pending.splice(index, 1);
      pending.resolve(replies);
    });
  }
}

/** A client of `server` that lives and dies with `process`; only what Eyrie calls is there. */
export function simClient(options: ClientOptions): ScriptedRedis {
  const connection = new Connection(options);
  const own: Record<string, unknown> = {
    get status() {
      return connection.isOpen ? "ready" : "reconnecting";
    },
    defineCommand: (
      name: string,
      { lua, numberOfKeys }: { lua: string; numberOfKeys?: number },
    ) => {
      const text = options.edit?.(name, lua) ?? lua;
      connection.scripts.set(name, parseScript(name, text, numberOfKeys));
    },
    on: (event: string, listener: Listener) => {
      if (event === "message") connection.onMessage(listener);
    },
    subscribe: async (channel: string) => connection.listen(channel, true),
    unsubscribe: async (channel: string) => connection.listen(channel, false),
    pipeline: () => chain(connection),
    multi: () => chain(connection),
    scanStream: (scan: Scan) => pages(connection, ["SCAN", "0"], scan),
    hscanStream: (key: string, scan: Scan) =>
      pages(connection, ["HSCAN", encodeText(key), "0"], scan),
    zscanStream: (key: string, scan: Scan) =>
      pages(connection, ["ZSCAN", encodeText(key), "0"], scan),
  };
  const client = new Proxy(own, {
    get(target, property) {
      if (typeof property !== "string" || property in target) return Reflect.get(target, property);
      // A promise's resolution looks for it.
      if (property === "then") return undefined;
      return async (...args: unknown[]) => call(connection, property, args);
    },
  }) as unknown as ScriptedRedis;
  return defineScripts(client);
}

async function call(connection: Connection, name: string, args: unknown[]): Promise<unknown> {
  const { command, decode } = commandFor(connection, name, args);
  const [reply = null] = await connection.send([command]);
  if (isError(reply)) throw new Error(reply.error);
  return decode(reply);
}

interface Encoded {
  readonly command: Command;
  readonly decode: (reply: Reply) => unknown;
}

function commandFor(connection: Connection, name: string, args: unknown[]): Encoded {
  const binary = name.endsWith("Buffer");
  const plain = binary ? name.slice(0, -"Buffer".length) : name;
  const encoded = args.flatMap(encodeArgument);
  const decodeBytes = binary ? bytesOf : textOf;
  const decode =
    plain === "hgetall"
      ? (reply: Reply) => recordOf(reply, binary)
      : (reply: Reply) => decodeBytes(reply);
  const script = connection.scripts.get(plain);
  if (script !== undefined) return { command: { kind: "script", script, args: encoded }, decode };
  return { command: { kind: "command", args: [plain.toUpperCase(), ...encoded] }, decode };
}

/** `pipeline()` and `multi()`: here both run at one moment. */
function chain(connection: Connection): unknown {
  const queued: Encoded[] = [];
  const links: Record<string, unknown> = {
    exec: async () => {
      const replies = await connection.send(queued.map(({ command }) => command));
      return replies.map((reply, index) =>
        isError(reply) ? [new Error(reply.error), undefined] : [null, queued[index]?.decode(reply)],
      );
    },
  };
  const chained: unknown = new Proxy(links, {
    get(target, property) {
      if (typeof property !== "string" || property in target) return Reflect.get(target, property);
      if (property === "then") return undefined;
      return (...args: unknown[]) => {
        queued.push(commandFor(connection, property, args));
        return chained;
      };
    },
  });
  return chained;
}

interface Scan {
  readonly match?: string;
}

async function* pages(
  connection: Connection,
  args: readonly string[],
  { match }: Scan = {},
): AsyncGenerator<unknown> {
  const matching = match === undefined ? [] : ["MATCH", encodeText(match)];
  const [reply = null] = await connection.send([{ kind: "command", args: [...args, ...matching] }]);
  if (Array.isArray(reply)) yield textOf(reply[1] ?? null);
}

function isError(reply: Reply): reply is { readonly error: string } {
  return reply !== null && typeof reply === "object" && "error" in reply;
}

const ascii = /^[\x00-\x7f]*$/;

/** Text as Latin-1 of its UTF-8. */
export function encodeText(text: string): string {
  return ascii.test(text) ? text : Buffer.from(text).toString("latin1");
}

export function decodeText(bytes: string): string {
  return ascii.test(bytes) ? bytes : Buffer.from(bytes, "latin1").toString();
}

function encodeArgument(value: unknown): string[] {
  if (typeof value === "string") return [encodeText(value)];
  if (typeof value === "number") return [String(value)];
  if (Buffer.isBuffer(value)) return [value.toString("latin1")];
  if (Array.isArray(value)) return value.flatMap(encodeArgument);
  throw new TypeError(`not an argument for Redis: ${String(value)}`);
}

function textOf(reply: Reply): unknown {
  if (typeof reply === "string") return decodeText(reply);
  if (Array.isArray(reply)) return reply.map(textOf);
  return reply !== null && typeof reply === "object" && "ok" in reply ? reply.ok : reply;
}

function bytesOf(reply: Reply): unknown {
  if (typeof reply === "string") return Buffer.from(reply, "latin1");
  return Array.isArray(reply) ? reply.map(bytesOf) : reply;
}

function recordOf(reply: Reply, binary: boolean): unknown {
  if (!Array.isArray(reply)) return reply;
  const record: Record<string, unknown> = {};
  for (let index = 0; index + 1 < reply.length; index += 2) {
    const value = reply[index + 1] ?? null;
    record[String(textOf(reply[index] ?? null))] = binary ? bytesOf(value) : textOf(value);
  }
  return record;
}
