/**
 * Brings a conversation's state into a slot, and keeps it in the snapshot store.
 *
 * Restore tries, in this order: what the slot already holds, what a fork's source holds, the newest
 * valid snapshot, the older ones, the empty state; then the tail of the token log is replayed on top.
 * A candidate counts only if its head lies on the log, so a state of a forgotten or foreign history
 * is never used. A snapshot that is refused is logged by the reason's name and passed over. While the
 * state Redis does not answer, a log that is whole is replayed, and any other conversation waits: its
 * snapshots are not lost, only out of reach. Nothing is ever kept waiting for a save.
 */
import type { Clock } from "#infra/clock/clock.ts";
import { EyrieError } from "#infra/errors/error.ts";
import {
  formatLogHead,
  type LogBlock,
  type LogHead,
  parseLogHead,
} from "#infra/ledger/tokenlog.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import type { Claim, Hold, Mailbox } from "#infra/mailbox/mailbox.ts";
import type { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import { isUnanswered } from "#infra/redis/client.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import type { CanonicalState } from "#kernels/backends/contract.ts";
import { packSnapshot, unpackSnapshot } from "#kernels/state/snapshot.ts";
import { stateLength } from "#kernels/model/config.ts";
import type { Engine } from "../engine/engine.ts";
import { holdLease } from "../lease/lease.ts";
import { retain } from "./retention.ts";
import type { Room, Tenant } from "./slots.ts";

export interface Restored {
  /** Blocks of the log to feed before the turn's own tokens; the state is settled after each. */
  readonly replay: readonly (readonly number[])[];
  readonly snapshotHead: string | null;
}

/** Why a conversation cannot be restored now. */
export type NotRestored =
  /** The log has moved since the claim (undo, reset): claim again. */
  { readonly kind: "log-moved" } | { readonly kind: "state-away" };
/** Where states lie while they are worked on. */
export type StateEngine = Pick<Engine, "info" | "readState" | "writeState">;

export class States {
  readonly #engine: StateEngine;
  readonly #ledger: Ledger;
  readonly #mailbox: Mailbox;
  readonly #snapshots: SnapshotStore;
  readonly #fingerprint: string;
  readonly #log: Log;
  readonly #clock: Clock;

  constructor(
    engine: StateEngine,
    stores: {
      readonly ledger: Ledger;
      readonly mailbox: Mailbox;
      readonly snapshots: SnapshotStore;
    },
    options: { readonly fingerprint: string; readonly log: Log; readonly clock: Clock },
  ) {
    this.#engine = engine;
    this.#ledger = stores.ledger;
    this.#mailbox = stores.mailbox;
    this.#snapshots = stores.snapshots;
    this.#fingerprint = options.fingerprint;
    this.#log = options.log;
    this.#clock = options.clock;
  }

  /** The state that a fork shares with its source, where a slot holds it. */
  inherit({ twin }: Room): Promise<CanonicalState> | null {
    if (twin === null) return null;
    const state = this.#engine.readState(twin);
    // Whoever waits for it is told; nobody may, if the turn ends before.
    state.catch(() => undefined);
    return state;
  }

  async restore(
    claim: Claim,
    room: Room,
    inherited: Promise<CanonicalState> | null,
  ): Promise<Restored | NotRestored> {
    const head = parseLogHead(claim.logHead);
    if (room.holds?.logHead === claim.logHead) {
      return { replay: [], snapshotHead: room.holds.snapshotHead };
    }
    if (inherited !== null) {
      await this.#engine.writeState(room.slot, await inherited);
      return { replay: [], snapshotHead: null };
    }
    if (head.tokens === 0) return this.#fromEmpty(room.slot, []);
    const blocks = await this.#ledger.log(claim.conversation, head);
    if (blocks === null) return { kind: "log-moved" };
    const tails = tailsByHead(blocks, head);
    const held = room.holds === null ? undefined : tails.get(room.holds.logHead);
    if (held !== undefined) {
      return { replay: held, snapshotHead: room.holds?.snapshotHead ?? null };
    }
    const found = await this.#ask(this.#fromSnapshot(claim.conversation, room.slot, tails));
    if (found !== null && found !== "away") return found;
    if (blocks[0]?.start.tokens !== 0) {
      if (found === "away") return { kind: "state-away" };
      // All kept snapshots are gone and the log no longer reaches back: what it has is the best
      // that is left of the conversation.
      this.#log.error("state lost, replaying what the log keeps", {
        conversation: claim.conversation,
        tokens: head.tokens,
      });
    }
    return this.#fromEmpty(
      room.slot,
      blocks.map((block) => block.tokens),
    );
  }

  /** Writes what a slot holds to the snapshot store, under a lease; returns the tenant as it is then. */
  async save(slot: number, tenant: Tenant, hold: Hold): Promise<Tenant> {
    if (tenant.snapshotHead === tenant.logHead) return tenant;
    const saved = await this.#ask(this.#save(slot, tenant, hold));
    return saved === "away" ? tenant : saved;
  }

  async #save(slot: number, tenant: Tenant, hold: Hold): Promise<Tenant> {
    const head = parseLogHead(tenant.logHead);
    const { numericClass, stateCodec: codec, config } = this.#engine.info;
    const header = {
      fingerprint: this.#fingerprint,
      numericClass,
      tokenPosition: head.tokens,
      tokenLogChecksum: head.crc,
    };
    const state = await this.#engine.readState(slot);
    const packed = packSnapshot(state, header, { codec, headSize: config.headSize });
    await this.#snapshots.write(tenant.conversation, tenant.logHead, packed);
    const stores = { ledger: this.#ledger, snapshots: this.#snapshots };
    const stays = await retain(stores, hold, head);
    return stays ? { ...tenant, snapshotHead: tenant.logHead } : tenant;
  }

  /**
   * Saves an idle state, unless the conversation has gone on elsewhere or is about to. False when the
   * state Redis does not answer.
   */
  async saveIdle(slot: number, tenant: Tenant): Promise<boolean> {
    if (tenant.snapshotHead === tenant.logHead) return true;
    const hold = await this.#mailbox.hold(tenant.conversation, tenant.logHead);
    if (hold === null) return true;
    const held = holdLease(this.#mailbox, hold, this.#clock);
    try {
      return (await this.#ask(this.#save(slot, tenant, hold))) !== "away";
    } finally {
      held.letGo();
      await this.#mailbox.release(hold, { forgive: false });
    }
  }

  /** The answer of the state Redis; "away" when there is none in time. */
  async #ask<T>(answer: Promise<T>): Promise<T | "away"> {
    try {
      return await answer;
    } catch (error) {
      if (!isUnanswered(error)) throw error;
      this.#log.warn("the state Redis does not answer", errorFields(error));
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
    const { config } = this.#engine.info;
    const unpacked = unpackSnapshot(packed, {
      fingerprint: this.#fingerprint,
      stateLength: stateLength(config),
      headSize: config.headSize,
    });
    const { tokens, crc } = parseLogHead(head);
    if (unpacked.kind === "refused") {
      this.#log.warn("snapshot refused", { conversation, head, reason: unpacked.reason });
      return false;
    }
    const { tokenPosition, tokenLogChecksum } = unpacked.header;
    if (tokenPosition !== tokens || tokenLogChecksum !== crc) {
      this.#log.warn("snapshot refused", { conversation, head, reason: "wrong-position" });
      return false;
    }
    await this.#engine.writeState(slot, unpacked.state);
    return true;
  }
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
