/**
 * Brings a conversation's state into a slot, and keeps it in the snapshot store.
 *
 * Restore tries, in this order: what the slot already holds, the newest valid snapshot, the older
 * one, the empty state; then the tail of the token log is replayed on top. A candidate counts only
 * if its head lies on the log, so a state of a forgotten or foreign history is never used. A
 * snapshot that is refused is logged by the reason's name and passed over.
 *
 * Whichever of them it is, the state is the same to the bit: what a slot holds at the end of a block
 * was settled (`reply.ts`), as it would be after a snapshot.
 */
import {
  formatLogHead,
  type LogBlock,
  type LogHead,
  parseLogHead,
} from "#infra/ledger/tokenlog.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import type { Claim } from "#infra/mailbox/mailbox.ts";
import type { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import type { Log } from "#infra/telemetry/log.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { packSnapshot, unpackSnapshot } from "#kernels/state/snapshot.ts";
import { stateLength } from "#kernels/model/config.ts";
import type { Engine } from "../engine/engine.ts";
import type { Room, Tenant } from "./slots.ts";

export interface Restored {
  /** Blocks of the log to feed before the turn's own tokens; the state is settled after each. */
  readonly replay: readonly (readonly number[])[];
  readonly snapshotHead: string | null;
}

export class States {
  readonly #engine: Engine;
  readonly #ledger: Ledger;
  readonly #snapshots: SnapshotStore;
  readonly #fingerprint: string;
  readonly #log: Log;

  constructor(
    engine: Engine,
    stores: { readonly ledger: Ledger; readonly snapshots: SnapshotStore },
    options: { readonly fingerprint: string; readonly log: Log },
  ) {
    this.#engine = engine;
    this.#ledger = stores.ledger;
    this.#snapshots = stores.snapshots;
    this.#fingerprint = options.fingerprint;
    this.#log = options.log;
  }

  async restore(claim: Claim, room: Room): Promise<Restored> {
    const head = parseLogHead(claim.logHead);
    if (room.holds?.logHead === claim.logHead) {
      return { replay: [], snapshotHead: room.holds.snapshotHead };
    }
    if (head.tokens === 0) return this.#fromEmpty(room.slot, []);
    const blocks = await this.#ledger.log(claim.conversation, head);
    const tails = tailsByHead(blocks, head);
    const held = room.holds === null ? undefined : tails.get(room.holds.logHead);
    if (held !== undefined) {
      return { replay: held, snapshotHead: room.holds?.snapshotHead ?? null };
    }
    for (const snapshotHead of await this.#snapshots.heads(claim.conversation)) {
      const tail = tails.get(snapshotHead);
      if (tail === undefined) continue;
      if (await this.#load(claim.conversation, snapshotHead, room.slot)) {
        return { replay: tail, snapshotHead };
      }
    }
    if (blocks[0]?.start.tokens !== 0) {
      // Both kept snapshots are gone and the log no longer reaches back: what it has is the best
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

  /** Writes what a slot holds to the snapshot store; returns the tenant as it is then. */
  async save(slot: number, tenant: Tenant): Promise<{ tenant: Tenant; kept: string[] }> {
    if (tenant.snapshotHead === tenant.logHead) return { tenant, kept: [] };
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
    const kept = await this.#snapshots.write(tenant.conversation, tenant.logHead, packed);
    return { tenant: { ...tenant, snapshotHead: tenant.logHead }, kept };
  }

  /** Saves an idle state without a lease, unless the conversation has gone on elsewhere. */
  async saveIdle(slot: number, tenant: Tenant): Promise<void> {
    const head = await this.#ledger.logHead(tenant.conversation);
    if (formatLogHead(head) === tenant.logHead) await this.save(slot, tenant);
  }

  /** After a save under a lease: drops the log blocks that all kept snapshots contain. */
  async trim(claim: Claim, head: LogHead, kept: readonly string[]): Promise<void> {
    const oldest = kept.at(-1);
    if (oldest === undefined || kept.length < 2) return;
    const blocks = await this.#ledger.log(claim.conversation, head);
    const covered = blocks.findIndex((block) => formatLogHead(block.end) === oldest);
    if (covered < 0) return;
    const from = claim.logStart;
    await this.#ledger.trim(claim, { from, to: parseLogHead(oldest) }, covered + 1);
  }

  async #fromEmpty(slot: number, replay: Restored["replay"]): Promise<Restored> {
    await this.#engine.writeState(slot, null);
    return { replay, snapshotHead: null };
  }

  async #load(conversation: ConversationId, head: string, slot: number): Promise<boolean> {
    const packed = await this.#snapshots.read(conversation, head);
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
