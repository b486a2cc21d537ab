/**
 * One gateway session: sequence numbers, the replay buffer, and delivery to whichever socket holds
 * it now. It outlives sockets; events that happen meanwhile wait in the buffer.
 *
 * What a fault holds back or a dead socket swallowed is still replayed by RESUME: delivery may
 * repeat and reorder, it never loses.
 */
import { randomBytes } from "node:crypto";
import { GatewayOpcodes as Op } from "discord-api-types/v10";
import type { DeliveryFaults } from "../faults.ts";

export interface Dispatch {
  readonly op: typeof Op.Dispatch;
  readonly t: string;
  readonly s: number;
  readonly d: object;
}

/** The socket side, as a session sees it. */
export interface Outlet {
  send(payload: object): void;
  /** Drops the connection without a close frame. */
  cut(): void;
}

export interface Identity {
  readonly shardId: number;
  readonly shardCount: number;
  readonly intents: number;
}

const bufferMax = 20_000;
const holdMsMax = 30;

export class Session {
  readonly id = randomBytes(16).toString("hex");
  readonly identity: Identity;
  readonly #faults: DeliveryFaults;
  #buffer: Dispatch[] = [];
  #held: Dispatch[] = [];
  #holdTimer: NodeJS.Timeout | null = null;
  /** Sequence numbers below the newest that never reached a socket. */
  readonly #undelivered = new Set<number>();
  #outlet: Outlet | null = null;
  #seq = 0;
  /** When its last socket went; null while one is there. */
  detachedAtMs: number | null = null;

  constructor(identity: Identity, faults: DeliveryFaults) {
    this.identity = identity;
    this.#faults = faults;
  }

  get seq(): number {
    return this.#seq;
  }

  get outlet(): Outlet | null {
    return this.#outlet;
  }

  attach(outlet: Outlet): void {
    this.#outlet = outlet;
    this.detachedAtMs = null;
  }

  detach(outlet: Outlet, atMs: number): void {
    if (this.#outlet !== outlet) return;
    for (const { s } of this.#held) this.#undelivered.add(s);
    this.#stopHolding();
    this.#outlet = null;
    this.detachedAtMs = atMs;
  }

  /** `steady` events (READY, GUILD_CREATE) are never duplicated, shuffled or counted for cuts. */
  dispatch(type: string, data: object, options: { steady: boolean }): void {
    this.#seq += 1;
    const payload: Dispatch = { op: Op.Dispatch, t: type, s: this.#seq, d: data };
    this.#buffer.push(payload);
    if (this.#buffer.length > bufferMax) this.#buffer = this.#buffer.slice(bufferMax / 2);
    if (!this.#outlet) return;
    if (options.steady) this.#outlet.send(payload);
    else this.#deliver(payload);
  }

  /** True if everything after `seq` is still known. */
  canReplay(seq: number): boolean {
    const oldest = this.#buffer[0]?.s ?? this.#seq + 1;
    return seq + 1 >= oldest;
  }

  /** Missed events in order, then RESUMED. */
  replay(seq: number): void {
    for (const payload of this.#buffer) {
      if (payload.s > seq || this.#undelivered.has(payload.s)) this.#outlet?.send(payload);
    }
    this.#undelivered.clear();
    this.#seq += 1;
    this.#outlet?.send({ op: Op.Dispatch, t: "RESUMED", s: this.#seq, d: {} });
  }

  #deliver(payload: Dispatch): void {
    const window = this.#faults.reorderWindow;
    if (window <= 1) {
      this.#emit([payload]);
      return;
    }
    this.#held.push(payload);
    if (this.#held.length >= window) this.#release();
    else this.#holdTimer ??= setTimeout(() => this.#release(), holdMsMax);
  }

  #release(): void {
    const held = this.#faults.shuffle(this.#held);
    this.#stopHolding();
    this.#emit(held);
  }

  #stopHolding(): void {
    if (this.#holdTimer) clearTimeout(this.#holdTimer);
    this.#holdTimer = null;
    this.#held = [];
  }

  /** A cut in the middle leaves the rest for the replay. */
  #emit(payloads: readonly Dispatch[]): void {
    for (const payload of payloads) {
      if (!this.#outlet) {
        this.#undelivered.add(payload.s);
        continue;
      }
      for (let i = this.#faults.copies(); i > 0; i -= 1) this.#outlet.send(payload);
      if (this.#faults.cutsNow()) this.#outlet.cut();
    }
  }
}
