/**
 * Brings a conversation's state into a slot, and keeps it: parked in memory while there is room, in the
 * snapshot store when a snapshot is due, when the room is gone, and when the worker ends.
 *
 * Restore tries, in this order: what the slot already holds, what is parked, what a fork's source holds,
 * the newest valid snapshot, the older ones, the empty state; then the tail of the token log is
 * replayed on top. A candidate counts only if its head lies on the log, so a state of a forgotten or
 * foreign history is never used. A snapshot that is refused is logged by the reason's name and passed
 * over. While the state Redis does not answer, a log that is whole is replayed, and any other
 * conversation waits: its snapshots are not lost, only out of reach.
 */
import type { Clock } from "#infra/clock/clock.ts";
import { EyrieError } from "#infra/errors/error.ts";
import {
  advance,
  formatLogHead,
  type LogBlock,
  type LogHead,
  parseLogHead,
} from "#infra/ledger/tokenlog.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import type { Claim, Hold, Mailbox } from "#infra/mailbox/mailbox.ts";
import type { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import { isUnanswered, refusesWrites } from "#infra/redis/client.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { stateLength } from "#kernels/model/config.ts";
import type { StateCodec } from "#kernels/state/codec.ts";
import { packSnapshot, type SnapshotHeader, unpackSnapshot } from "#kernels/state/snapshot.ts";
import type { Engine } from "../engine/engine.ts";
import type { Unpacked } from "../engine/protocol.ts";
import { holdLease } from "../lease/lease.ts";
import type { WorkerMetrics } from "../metrics.ts";
import { Parked, type ParkedState } from "./parked.ts";
import { retain } from "./retention.ts";
import type { Room, Tenant } from "./slots.ts";

/** Displaced states being saved at once; more wait for these before a turn goes on. */
const savesMax = 16;
/** A state is packed, written, read and unpacked at about this speed (localhost, Zen 3). */
const movedBytesPerMs = 100_000;

export interface Restored {
  /** Blocks of the log to feed before the turn's own tokens; the state is settled after each. */
  readonly replay: readonly (readonly number[])[];
  readonly snapshotHead: string | null;
  /** The log no longer reaches back and no snapshot is left: a state of what the log keeps. */
  readonly lost?: boolean;
}

/** Why a conversation cannot be restored now. */
export type NotRestored =
  /** The log has moved since the claim (undo, reset): claim again. */
  { readonly kind: "log-moved" } | { readonly kind: "state-away" };

/** Where states lie while they are worked on. One with a thread of its own packs them there. */
export type StateEngine = Pick<Engine, "info" | "readState" | "writeState"> &
  Partial<Pick<Engine, "pack" | "unpack">>;

export class States {
  readonly #engine: StateEngine;
  readonly #ledger: Ledger;
  readonly #mailbox: Mailbox;
  readonly #snapshots: SnapshotStore;
  readonly #fingerprint: string;
  readonly #parked: Parked;
  readonly #moved: WorkerMetrics["stateBytes"] | undefined;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #saves = new Set<Promise<void>>();

  constructor(
    engine: StateEngine,
    stores: {
      readonly ledger: Ledger;
      readonly mailbox: Mailbox;
      readonly snapshots: SnapshotStore;
    },
    options: {
      readonly fingerprint: string;
      /** Left out: no room at all. */
      readonly parked?: Parked;
      readonly metrics?: Pick<WorkerMetrics, "stateBytes">;
      readonly clock: Clock;
      readonly log: Log;
    },
  ) {
    this.#engine = engine;
    this.#ledger = stores.ledger;
    this.#mailbox = stores.mailbox;
    this.#snapshots = stores.snapshots;
    this.#fingerprint = options.fingerprint;
    this.#parked = options.parked ?? new Parked(0);
    this.#moved = options.metrics?.stateBytes;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** The state that a fork shares with its source, where this worker holds it. */
  inherit({ twin }: Room, { source, logHead }: Claim): Promise<Uint8Array> | null {
    if (source === null) return null;
    if (twin === null) {
      const parked = this.#parked.at(source, logHead);
      return parked === null ? null : Promise.resolve(parked.packed);
    }
    const state = this.#pack(twin, logHead);
    // Whoever waits for it is told; nobody may, if the turn ends before.
    state.catch(() => undefined);
    return state;
  }

  async restore(
    claim: Claim,
    room: Room,
    inherited: Promise<Uint8Array> | null,
  ): Promise<Restored | NotRestored> {
    const head = parseLogHead(claim.logHead);
    if (room.holds?.logHead === claim.logHead) {
      return { replay: [], snapshotHead: room.holds.snapshotHead };
    }
    const parked = this.#parked.take(claim.conversation);
    if (parked?.tenant.logHead === claim.logHead && (await this.#unpark(parked, room.slot))) {
      return { replay: [], snapshotHead: parked.tenant.snapshotHead };
    }
    if (inherited !== null) {
      const { conversation, logHead } = claim;
      const state = { conversation, head: logHead, packed: await inherited };
      if (await this.#fill(room.slot, state)) return { replay: [], snapshotHead: null };
    }
    if (head.tokens === 0) return this.#fromEmpty(room.slot, []);
    const blocks = await this.#ledger.log(claim.conversation, head);
    if (blocks === null) return { kind: "log-moved" };
    const tails = tailsByHead(blocks, head);
    const held = room.holds === null ? undefined : tails.get(room.holds.logHead);
    if (held !== undefined) {
      return { replay: held, snapshotHead: room.holds?.snapshotHead ?? null };
    }
    const rested = parked === null ? undefined : tails.get(parked.tenant.logHead);
    if (parked !== null && rested !== undefined && (await this.#unpark(parked, room.slot))) {
      return { replay: rested, snapshotHead: parked.tenant.snapshotHead };
    }
    const found = await this.#ask(this.#fromSnapshot(claim.conversation, room.slot, tails));
    if (found !== null && found !== "away") return found;
    const lost = blocks[0]?.start.tokens !== 0;
    if (lost) {
      if (found === "away") return { kind: "state-away" };
      // All kept snapshots are gone and the log no longer reaches back: what it has is the best
      // that is left of the conversation.
      this.#log.error("state lost, replaying what the log keeps", {
        conversation: claim.conversation,
        tokens: head.tokens,
      });
    }
    const replay = blocks.map((block) => block.tokens);
    return { ...(await this.#fromEmpty(room.slot, replay)), lost };
  }

  /** What it takes to hand a state over and to take it up again, ms, about. */
  get handOverMs(): number {
    return (
      (stateLength(this.#engine.info.config) * Float32Array.BYTES_PER_ELEMENT) / movedBytesPerMs
    );
  }

  /**
   * Keeps the state of a reply in progress for whoever goes on with it, to the last bit, behind the tokens
   * that were `fed` of its turn. Like any snapshot that nobody confirms it is gone in a minute; without
   * it those tokens are fed again.
   */
  async handOver(slot: number, claim: Claim, fed: readonly number[]): Promise<void> {
    const { conversation } = claim;
    try {
      const head = headBehind(claim, fed);
      const packed = await this.#pack(slot, head, "f32");
      await this.#ask(this.#snapshots.write(conversation, head, packed));
      this.#moved?.inc({ direction: "written" }, packed.length);
    } catch (error) {
      this.#log.warn("state not handed over", { conversation, ...errorFields(error) });
    }
  }

  /** Fills a slot with what {@link handOver} kept; false when there is nothing. */
  async takeUp(slot: number, claim: Claim, fed: readonly number[]): Promise<boolean> {
    const { conversation } = claim;
    const head = headBehind(claim, fed);
    if ((await this.#ask(this.#load(conversation, head, slot))) !== true) return false;
    this.#parked.take(conversation);
    // Nobody else will need it; if this fails, it is gone in a minute.
    this.#snapshots.drop(conversation, [head]).catch(() => undefined);
    return true;
  }

  /** Writes what a slot holds to the snapshot store, under a lease; returns the tenant as it is then. */
  async save(slot: number, tenant: Tenant, hold: Hold): Promise<Tenant> {
    if (tenant.snapshotHead === tenant.logHead) return tenant;
    const packed = await this.#pack(slot, tenant.logHead);
    const saved = await this.#ask(this.#write({ tenant, packed }, hold));
    return saved === "away" ? tenant : saved;
  }

  /**
   * Frees a slot of an idle state. States that this leaves no room for are saved on the side: the
   * turn that needs the slot waits for them only when many are.
   */
  async park(slot: number, tenant: Tenant): Promise<void> {
    const packed = await this.#pack(slot, tenant.logHead);
    for (const gone of this.#parked.put({ tenant, packed })) {
      while (this.#saves.size >= savesMax) await Promise.race(this.#saves);
      const save = this.#saveParked(gone).then(() => {
        this.#saves.delete(save);
      });
      this.#saves.add(save);
    }
  }

  /** Saves an idle state, unless it is saved already or the conversation has gone on elsewhere. */
  async saveIdle(slot: number, tenant: Tenant): Promise<void> {
    if (tenant.snapshotHead === tenant.logHead) return;
    await this.#saveParked({ tenant, packed: await this.#pack(slot, tenant.logHead) });
  }

  /**
   * Saves all that is parked and the given slots, until the signal or until the state Redis is away:
   * what is left then is replayed by whoever comes next, for a second at most.
   */
  async saveAll(
    slots: readonly { readonly slot: number; readonly tenant: Tenant }[],
    signal: AbortSignal,
  ): Promise<void> {
    for (const { slot, tenant } of slots) await this.park(slot, tenant);
    const left = this.#parked.all();
    const save = async (): Promise<void> => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        if (signal.aborted || !(await this.#saveParked(next))) return;
      }
    };
    await Promise.all([...this.#saves, ...Array.from({ length: savesMax }, save)]);
  }

  /**
   * Unless it is saved already, or the conversation has gone on elsewhere or is about to. False when
   * the state Redis is away; any other failure is logged and is this state's alone.
   */
  async #saveParked(state: ParkedState): Promise<boolean> {
    const { conversation, logHead, snapshotHead } = state.tenant;
    if (snapshotHead === logHead) return true;
    try {
      const hold = await this.#mailbox.hold(conversation, logHead);
      return hold === null || (await this.#writeHeld(state, hold));
    } catch (error) {
      this.#log.warn("idle state not saved", { conversation, ...errorFields(error) });
      return true;
    }
  }

  async #writeHeld(state: ParkedState, hold: Hold): Promise<boolean> {
    const held = holdLease(this.#mailbox, hold, this.#clock);
    try {
      return (await this.#ask(this.#write(state, hold))) !== "away";
    } finally {
      held.letGo();
      await this.#mailbox.release(hold, { forgive: false });
    }
  }

  /** The answer of the state Redis; "away" when there is none in time, or it takes no writes now. */
  async #ask<T>(answer: Promise<T>): Promise<T | "away"> {
    try {
      return await answer;
    } catch (error) {
      const refused = refusesWrites(error);
      if (refused === null && !isUnanswered(error)) throw error;
      const what = refused === null ? "does not answer" : "takes no writes";
      this.#log.warn(`the state Redis ${what}`, errorFields(error));
      return "away";
    }
  }

  /** The newest snapshot that lies on the log and passes its checks. */
  async #fromSnapshot(
    conversation: ConversationId,
    slot: number,
    tails: ReadonlyMap<string, Restored["replay"]>,
  ): Promise<Restored | null> {
    for (const snapshotHead of await this.#snapshots.heads(conversation)) {
      const replay = tails.get(snapshotHead);
      if (replay === undefined) continue;
      if (await this.#load(conversation, snapshotHead, slot)) return { replay, snapshotHead };
    }
    return null;
  }

  async #write({ tenant, packed }: ParkedState, hold: Hold): Promise<Tenant> {
    await this.#snapshots.write(tenant.conversation, tenant.logHead, packed);
    this.#moved?.inc({ direction: "written" }, packed.length);
    const stores = { ledger: this.#ledger, snapshots: this.#snapshots };
    const stays = await retain(stores, hold, parseLogHead(tenant.logHead));
    return stays ? { ...tenant, snapshotHead: tenant.logHead } : tenant;
  }

  async #pack(
    slot: number,
    logHead: string,
    codec: StateCodec = this.#engine.info.stateCodec,
  ): Promise<Uint8Array> {
    const engine = this.#engine;
    const header = this.#headerAt(logHead);
    if (engine.pack !== undefined) return engine.pack(slot, header, codec);
    const { headSize } = engine.info.config;
    return packSnapshot(await engine.readState(slot), header, { codec, headSize });
  }

  async #unpack(slot: number, packed: Uint8Array): Promise<Unpacked> {
    const engine = this.#engine;
    const fingerprint = this.#fingerprint;
    if (engine.unpack !== undefined) return engine.unpack(slot, packed, fingerprint);
    const { config } = engine.info;
    const expected = { fingerprint, stateLength: stateLength(config), headSize: config.headSize };
    const unpacked = unpackSnapshot(packed, expected);
    if (unpacked.kind === "snapshot") await engine.writeState(slot, unpacked.state);
    return unpacked;
  }

  #headerAt(logHead: string): SnapshotHeader {
    const { tokens, crc } = parseLogHead(logHead);
    const { numericClass } = this.#engine.info;
    const fingerprint = this.#fingerprint;
    return { fingerprint, numericClass, tokenPosition: tokens, tokenLogChecksum: crc };
  }

  #unpark({ tenant, packed }: ParkedState, slot: number): Promise<boolean> {
    return this.#fill(slot, { conversation: tenant.conversation, head: tenant.logHead, packed });
  }

  async #fromEmpty(slot: number, replay: Restored["replay"]): Promise<Restored> {
    await this.#engine.writeState(slot, null);
    return { replay, snapshotHead: null };
  }

  /** Null for one that is gone, or that does not open: there is something older, or the log. */
  async #read(conversation: ConversationId, head: string): Promise<Buffer | null> {
    try {
      return await this.#snapshots.read(conversation, head);
    } catch (error) {
      if (!(error instanceof EyrieError)) throw error;
      this.#log.warn("snapshot refused", { conversation, head, ...errorFields(error) });
      return null;
    }
  }

  async #load(conversation: ConversationId, head: string, slot: number): Promise<boolean> {
    const packed = await this.#read(conversation, head);
    if (packed === null) return false;
    this.#moved?.inc({ direction: "read" }, packed.length);
    return this.#fill(slot, { conversation, head, packed });
  }

  /** False when the bytes are not the state of this model at that head. */
  async #fill(
    slot: number,
    state: {
      readonly conversation: ConversationId;
      readonly head: string;
      readonly packed: Uint8Array;
    },
  ): Promise<boolean> {
    const { conversation, head, packed } = state;
    const unpacked = await this.#unpack(slot, packed);
    if (unpacked.kind === "refused") {
      this.#log.warn("snapshot refused", { conversation, head, reason: unpacked.reason });
      return false;
    }
    const { tokens, crc } = parseLogHead(head);
    const { tokenPosition, tokenLogChecksum } = unpacked.header;
    if (tokenPosition === tokens && tokenLogChecksum === crc) return true;
    this.#log.warn("snapshot refused", { conversation, head, reason: "wrong-position" });
    return false;
  }
}

/** Where the log would end if these tokens of the claimed turn were on it. */
function headBehind({ logHead }: Claim, fed: readonly number[]): string {
  return formatLogHead(advance(parseLogHead(logHead), fed));
}

/** For every head on the log: the blocks that lead from it to the log's end. */
function tailsByHead(
  blocks: readonly LogBlock[],
  head: LogHead,
): ReadonlyMap<string, Restored["replay"]> {
  const tails = new Map<string, Restored["replay"]>([[formatLogHead(head), []]]);
  let tail: Restored["replay"] = [];
  for (const block of blocks.toReversed()) {
    tail = [block.tokens, ...tail];
    tails.set(formatLogHead(block.start), tail);
  }
  return tails;
}
