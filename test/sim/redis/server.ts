/**
 * A Redis server on virtual time, and what happens on the way to it: time passes, connections break
 * before or after a command has run, the server is restarted with or without what it held.
 */
import type { Random } from "../random.ts";
import { wallStartMs } from "../process.ts";
import type { World } from "../world.ts";
import type { Lua, Script } from "./lua.ts";
import { type Reply, Store } from "./store.ts";

/** What a client sends at once: one command, or several that run together. */
export interface Unit {
  readonly commands: readonly Command[];
}

export type Command =
  | { readonly kind: "command"; readonly args: readonly string[] }
  | { readonly kind: "script"; readonly script: Script; readonly args: readonly string[] };

/** How the server reaches a client. */
export interface Peer {
  readonly name: string;
  /** The connection breaks; the client will connect again. */
  cut(): void;
  message(channel: string, message: string): void;
}

/** Sees every script around its run, and may make something happen there. */
export interface Watcher {
  /** False: the connection breaks before the script runs. */
  before(peer: Peer, script: Script, args: readonly string[]): boolean;
  after(peer: Peer, script: Script, run: { args: readonly string[]; reply: Reply }): void;
}

export interface ServerOptions {
  readonly world: World;
  readonly lua: Lua;
  readonly watcher: Watcher;
}

export class SimRedis {
  readonly store = new Store();
  /** How far the server's wall clock has jumped, ms. */
  skewMs = 0;
  readonly #options: ServerOptions;
  readonly #peers = new Set<Peer>();
  readonly #subscribers = new Map<string, Set<Peer>>();
  #up = true;

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  get up(): boolean {
    return this.#up;
  }

  /** Of a command or an answer on its way, ms. */
  latencyMs(): number {
    const { random } = this.#options.world;
    return random.chance(0.01) ? random.between(5, 150) : random.between(0.1, 0.8);
  }

  connect(peer: Peer): void {
    this.#peers.add(peer);
  }

  disconnect(peer: Peer): void {
    this.#peers.delete(peer);
    for (const subscribers of this.#subscribers.values()) subscribers.delete(peer);
  }

  subscribe(peer: Peer, channel: string): void {
    const subscribers = this.#subscribers.get(channel) ?? new Set();
    this.#subscribers.set(channel, subscribers.add(peer));
  }

  unsubscribe(peer: Peer, channel: string): void {
    this.#subscribers.get(channel)?.delete(peer);
  }

  /** Runs what has arrived; null when the connection broke before it ran. */
  run(peer: Peer, unit: Unit): Reply[] | null {
    const replies: Reply[] = [];
    for (const command of unit.commands) {
      const reply = this.#command(peer, command);
      if (reply === null) return null;
      replies.push(reply.reply);
    }
    return replies;
  }

  /** Every connection breaks, and nobody gets in for a while. `empty`: what it held is gone. */
  restart(downMs: number, { empty }: { readonly empty: boolean }): void {
    if (!this.#up) return;
    this.#up = false;
    if (empty) this.store.clear();
    for (const peer of [...this.#peers]) peer.cut();
    this.#options.world.after(downMs, () => {
      this.#up = true;
    });
  }

  /** Looks at what it holds now. */
  at<T>(look: (store: Store) => T): T {
    this.store.nowMs = Math.floor(wallStartMs + this.#options.world.nowMs + this.skewMs);
    return look(this.store);
  }

  #command(peer: Peer, command: Command): { readonly reply: Reply } | null {
    const { lua, watcher } = this.#options;
    if (command.kind === "command") {
      const [name, channel = "", message = ""] = command.args;
      if (name === "PUBLISH") return { reply: this.#publish(channel, message) };
      return { reply: this.at((store) => store.run(command.args)) };
    }
    const { args, script } = command;
    this.at(() => undefined);
    if (!watcher.before(peer, script, args)) return null;
    const reply = this.at((store) => lua.run(script, store, args));
    watcher.after(peer, script, { args, reply });
    return { reply };
  }

  #publish(channel: string, message: string): number {
    const { world } = this.#options;
    const subscribers = [...(this.#subscribers.get(channel) ?? [])];
    for (const peer of subscribers) {
      for (let copies = copiesOf(world.random); copies > 0; copies--) {
        world.after(this.latencyMs(), () => {
          if (this.#subscribers.get(channel)?.has(peer) === true) peer.message(channel, message);
        });
      }
    }
    return subscribers.length;
  }
}

/** A hint may be lost or told twice. */
function copiesOf(random: Random): number {
  if (random.chance(0.03)) return 0;
  return random.chance(0.02) ? 2 : 1;
}
