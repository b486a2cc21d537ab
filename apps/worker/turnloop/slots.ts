/**
 * Which conversation's state lies in which slot, and at which log head.
 *
 * A slot is `busy` while a turn runs on it, then `idle`: kept in case the conversation's next turn
 * comes here, until another conversation needs the room. The least recently used idle slot goes
 * first; the caller saves what it holds before.
 */
import assert from "node:assert/strict";
import type { ConversationId } from "#infra/turn/index.ts";

export interface Tenant {
  readonly conversation: ConversationId;
  /** `<epoch>:<tokens>:<crc>`: what the state in the slot is a function of. */
  readonly logHead: string;
  /** Log head of this conversation's newest snapshot; null if none is known. */
  readonly snapshotHead: string | null;
}

interface Slot {
  readonly index: number;
  tenant: Tenant | null;
  busy: boolean;
  usedAt: number;
}

export interface Room {
  readonly slot: number;
  /** The state of this very conversation at `logHead`, if the slot holds it. */
  readonly holds: Tenant | null;
  /** Another conversation's idle state that has to make room. */
  readonly evicted: Tenant | null;
  /** A slot that holds this very state for the conversation that this one was forked from. */
  readonly twin: number | null;
}

/** What a conversation that was forked begins with. */
export interface Origin {
  readonly source: ConversationId;
  readonly logHead: string;
}

export class Slots {
  readonly #slots: Slot[];
  #time = 0;

  constructor(count: number) {
    this.#slots = Array.from({ length: count }, (_, index) => ({
      index,
      tenant: null,
      busy: false,
      usedAt: 0,
    }));
  }

  /**
   * Takes a slot for a conversation. Never more callers than slots: the wake worker's concurrency.
   * What the room says of other slots holds for this moment only.
   */
  take(conversation: ConversationId, origin: Origin | null = null): Room {
    const twin = origin === null ? null : this.#holding(origin);
    const own = this.#slots.find((slot) => slot.tenant?.conversation === conversation);
    assert(own?.busy !== true, "one turn of a conversation at a time");
    const slot = own ?? this.#leastRecent();
    const before = slot.tenant;
    slot.busy = true;
    slot.tenant = null;
    slot.usedAt = ++this.#time;
    return own === undefined
      ? { slot: slot.index, holds: null, evicted: before, twin }
      : { slot: slot.index, holds: before, evicted: null, twin };
  }

  #holding({ logHead, source }: Origin): number | null {
    const found = this.#slots.find(
      ({ busy, tenant }) => !busy && tenant?.conversation === source && tenant.logHead === logHead,
    );
    return found?.index ?? null;
  }

  /** Leaves a slot; `tenant` is what it now holds, or null when its state is undefined. */
  leave(slot: number, tenant: Tenant | null): void {
    const found = this.#slots[slot];
    assert(found?.busy === true, "not taken");
    found.busy = false;
    found.tenant = tenant;
    found.usedAt = ++this.#time;
  }

  /** Idle states, e.g. to save them before the process ends. */
  idle(): { readonly slot: number; readonly tenant: Tenant }[] {
    return this.#slots.flatMap(({ index, tenant, busy }) =>
      busy || tenant === null ? [] : [{ slot: index, tenant }],
    );
  }

  #leastRecent(): Slot {
    let found: Slot | null = null;
    for (const slot of this.#slots) {
      if (!slot.busy && (found === null || slot.usedAt < found.usedAt)) found = slot;
    }
    assert(found !== null, "more turns than slots");
    return found;
  }
}
