/**
 * The whole platform in one process on one virtual clock: two Redis servers, workers, a gateway,
 * Discord and a wake queue, with a supervisor that starts again what has died.
 */
import type { Translator } from "#infra/i18n/i18n.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { Log, LogFields } from "#infra/telemetry/log.ts";
import { conversationId } from "#infra/turn/index.ts";
import type { Dump, StoredValue } from "../invariants/dump.ts";
import { SimDiscord } from "./discord.ts";
import { startSimGateway } from "./gateway.ts";
import { SimProcess } from "./process.ts";
import { decodeText, simClient } from "./redis/client.ts";
import type { Lua } from "./redis/lua.ts";
import { SimRedis, type Watcher } from "./redis/server.ts";
import type { Value } from "./redis/store.ts";
import { SimShard } from "./shard.ts";
import { SimWakes } from "./wakes.ts";
import { SimWorker } from "./worker.ts";
import type { Witness } from "./witness.ts";
import type { World } from "./world.ts";

const workerCount = 3;
/** Wall clocks of machines are wrong by this much at most, ms. */
const skewMsMax = 10 * 60_000;

export interface PlatformParts {
  readonly world: World;
  readonly lua: Lua;
  readonly translator: Translator;
  readonly witness: Witness;
  readonly edit?: (name: string, lua: string) => string;
  readonly trace?: (line: string) => void;
}

/** What faults do around a script; see `faults.ts`. */
export type Strike = (when: "before" | "after", script: string, processName: string) => boolean;

export class SimPlatform {
  readonly truth: SimRedis;
  readonly state: SimRedis;
  readonly wakes: SimWakes;
  readonly discord: SimDiscord;
  readonly shard: SimShard;
  readonly workers = new Map<string, SimWorker>();
  gateway: SimProcess | null = null;
  /** Asked around every script that truth runs; false breaks the connection. */
  strike: Strike = () => true;
  readonly #parts: PlatformParts;
  #started = 0;

  constructor(parts: PlatformParts) {
    const { lua, world } = parts;
    this.#parts = parts;
    this.truth = new SimRedis({ world, lua, watcher: this.#watcher() });
    this.state = new SimRedis({
      ...{ world, lua },
      watcher: { before: () => true, after: () => undefined },
    });
    this.wakes = new SimWakes(world);
    this.discord = new SimDiscord(world);
    this.shard = new SimShard(world);
    for (let count = 0; count < workerCount; count++) this.startWorker();
    this.startGateway();
  }

  startWorker(): void {
    const { world } = this.#parts;
    const process = this.#process("worker");
    const worker = new SimWorker({
      ...{ world, process, wakes: this.wakes, log: this.#log(process) },
      truth: this.#client(process, this.truth),
      state: this.#client(process, this.state),
      control: this.#client(process, this.truth),
      onPoison: () => this.killWorker(process.name),
    });
    this.workers.set(process.name, worker);
  }

  /** A supervisor starts another one in its place. */
  killWorker(name: string): void {
    const worker = this.workers.get(name);
    if (worker === undefined) return;
    worker.process.kill();
    this.workers.delete(name);
    this.wakes.missed(worker.process);
    this.#trace(`${name} killed`);
    const { world } = this.#parts;
    world.after(world.random.between(300, 3_000), () => this.startWorker());
  }

  freezeWorker(name: string, ms: number): void {
    const worker = this.workers.get(name);
    if (worker === undefined) return;
    worker.process.freeze(ms);
    this.wakes.missed(worker.process);
    this.#trace(`${name} frozen for ${Math.round(ms)} ms`);
  }

  async drainWorker(name: string): Promise<void> {
    const worker = this.workers.get(name);
    if (worker === undefined) return;
    this.#trace(`${name} drains`);
    this.workers.delete(name);
    this.startWorker();
    try {
      await worker.drain();
    } finally {
      worker.process.kill();
      this.wakes.leave(worker.process);
      this.wakes.missed(worker.process);
      this.#trace(`${name} gone`);
    }
  }

  startGateway(): void {
    const { translator } = this.#parts;
    const process = this.#process("gateway");
    this.gateway = process;
    const { discord, shard, wakes } = this;
    void startSimGateway({
      ...{ process, wakes, discord, shard, translator, log: this.#log(process) },
      truth: this.#client(process, this.truth),
      state: this.#client(process, this.state),
      listening: this.#client(process, this.state),
    });
  }

  killGateway(): void {
    if (this.gateway === null) return;
    this.gateway.kill();
    this.#trace(`${this.gateway.name} killed`);
    this.gateway = null;
    const { world } = this.#parts;
    world.after(world.random.between(300, 4_000), () => this.startGateway());
  }

  dump(of: "truth" | "state"): Dump {
    return this[of].at((store) => {
      const keys = store.keys().sort();
      return new Map(keys.map((key) => [decodeText(key), storedOf(store.value(key)!)] as const));
    });
  }

  #process(kind: string): SimProcess {
    const { world } = this.#parts;
    const skewMs = world.random.between(-skewMsMax, skewMsMax);
    return new SimProcess(world, `${kind}-${++this.#started}`, skewMs);
  }

  #client(process: SimProcess, server: SimRedis): ScriptedRedis {
    const { edit, world } = this.#parts;
    return simClient({ world, server, process, ...(edit === undefined ? {} : { edit }) });
  }

  #watcher(): Watcher {
    const { witness } = this.#parts;
    return {
      before: (peer, script, args) => {
        if (!this.strike("before", script.name, peer.name)) return false;
        witness.before(script, args, this.truth.store);
        return true;
      },
      after: (peer, script, run) => {
        this.#trace(
          `${peer.name} ${script.name} ${run.args[0]}: ${JSON.stringify(run.reply).slice(0, 80)}`,
        );
        witness.after(script, run);
        if (!this.strike("after", script.name, peer.name)) peer.cut();
      },
    };
  }

  #log(process: SimProcess): Log {
    const note = (event: string, fields: LogFields = {}): void => {
      this.#trace(`${process.name}: ${event} ${JSON.stringify(fields)}`);
      if (!event.startsWith("state lost")) return;
      const conversation = String(fields["conversation"]);
      const { meta } = conversationKeys(conversationId(conversation));
      this.#parts.witness.stateLost(conversation, this.truth.store, meta);
    };
    return { debug: note, info: note, warn: note, error: note };
  }

  #trace(line: string): void {
    this.#parts.trace?.(`${Math.round(this.#parts.world.nowMs)} ${line}`);
  }
}

function storedOf(value: Value): StoredValue {
  const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
  switch (value.kind) {
    case "string":
      return { kind: "string", value: bytes(value.value) };
    case "list":
      return { kind: "list", values: value.values.map(bytes) };
    case "hash": {
      const fields = [...value.fields].map(([k, v]) => [decodeText(k), bytes(v)] as const);
      return { kind: "hash", fields: new Map(fields) };
    }
    case "zset":
      return { kind: "zset", scores: value.scores };
  }
}
