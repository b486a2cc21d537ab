/**
 * States at rest in the worker's own memory, packed as a snapshot packs them: a conversation that
 * comes back finds its state here, and neither Redis nor the token log is read.
 *
 * Bounded in bytes. Whatever has no room any more goes, those longest unused first; the caller saves
 * what it is handed and no snapshot holds yet.
 */
import type { ConversationId } from "#infra/turn/index.ts";
import type { Tenant } from "./slots.ts";

export interface ParkedState {
  readonly tenant: Tenant;
  readonly packed: Uint8Array;
}

export class Parked {
  readonly #bytesMax: number;
  /** In the order of their last use, the newest last. */
  readonly #states = new Map<ConversationId, ParkedState>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Parks a state; returns those that it leaves no room for, perhaps itself. */
  put(state: ParkedState): ParkedState[] {
    this.take(state.tenant.conversation);
    this.#states.set(state.tenant.conversation, state);
    this.#bytes += state.packed.length;
    const gone: ParkedState[] = [];
    for (const oldest of this.#states.values()) {
      if (this.#bytes <= this.#bytesMax) break;
      gone.push(oldest);
      this.take(oldest.tenant.conversation);
    }
    return gone;
  }

  /** Removes it: a state lies in a slot or here, never in both. */
  take(conversation: ConversationId): ParkedState | null {
    const state = this.#states.get(conversation);
    if (state === undefined) return null;
    this.#states.delete(conversation);
    this.#bytes -= state.packed.length;
    return state;
  }

  /** The state of a conversation at this very head; it stays. */
  at(conversation: ConversationId, logHead: string): ParkedState | null {
    const state = this.#states.get(conversation);
    return state?.tenant.logHead === logHead ? state : null;
  }

  /** All of them, those used last first. */
  all(): ParkedState[] {
    return [...this.#states.values()].toReversed();
  }
}
