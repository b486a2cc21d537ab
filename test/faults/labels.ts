/**
 * Crash points: places between two of our effects where a test can end, stop or block a process.
 *
 * A label is the border of a method of one of our rooms. It exists only in a process that was started
 * with preload.ts, which wraps that method: the product holds no trace of it, so it costs nothing and
 * cannot be armed in production. The type checker keeps names and methods together.
 */
import { OpenReplies } from "#infra/discord/open-replies.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { LivePublisher } from "#infra/live/live.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import { WakeBell } from "#infra/wake/wake.ts";

export interface Label {
  readonly prototype: object;
  readonly method: string;
  readonly side: "before" | "after";
  /** Which results count, on the side after. */
  readonly counts: (result: unknown) => boolean;
}

interface Room<T> {
  readonly prototype: T;
}

function before<T extends object>(room: Room<T>, method: keyof T & string): Label {
  return { prototype: room.prototype, method, side: "before", counts: () => true };
}

function after<T extends object>(
  room: Room<T>,
  method: keyof T & string,
  counts: (result: unknown) => boolean = () => true,
): Label {
  return { prototype: room.prototype, method, side: "after", counts };
}

const claimed = (result: unknown): boolean => (result as { kind?: string }).kind === "claimed";
const found = (result: unknown): boolean => result !== null;

/** In the order in which a turn passes them. */
export const labels = {
  /** The gateway has read the event and queued nothing. */
  "event-read": before(Mailbox, "append"),
  /** The turn is queued; nobody knows that it is to be shown, nor that the event is handled. */
  "turn-queued": before(OpenReplies, "save"),
  /** Queued and to be shown, but no wake rung. */
  "bell-silent": before(WakeBell, "ring"),
  /** The worker holds the conversation and has done nothing. */
  claimed: after(Mailbox, "claim", claimed),
  /** In the middle of the reply, after a live frame. */
  "in-reply": after(LivePublisher, "publish"),
  "reply-complete": before(Ledger, "commit"),
  /** Committed, and the worker does not know it. */
  "commit-unheard": after(Ledger, "commit"),
  /** The bytes of a snapshot lie in the state Redis and nobody has confirmed them. */
  "snapshot-unconfirmed": after(SnapshotStore, "write"),
  /** Committed; the conversation is still held and its wake unfinished. */
  "not-released": before(Mailbox, "release"),
  /** A message stands in Discord and its id is nowhere. */
  "message-unnoted": before(Ledger, "notePart"),
  /** The gateway has read the committed reply and not shown it. */
  "ending-unshown": after(Ledger, "reply", found),
  /** The last edit is made and not marked. */
  "delivery-unmarked": before(Ledger, "markDelivered"),
} satisfies Readonly<Record<string, Label>>;

export type LabelName = keyof typeof labels;

/** What happens at the label: once. */
export type Deed =
  | { readonly kind: "nothing" }
  | { readonly kind: "kill" }
  /** Frozen, as by SIGSTOP, until somebody sends SIGCONT. */
  | { readonly kind: "stop" }
  /** The event loop stands still, as in a native call that does not return. */
  | { readonly kind: "block"; readonly ms: number }
  /** Memory is taken until there is none. */
  | { readonly kind: "hog" };

/** Test → process, over IPC; the process answers with {@link Done}. */
export type Order =
  | {
      readonly kind: "arm";
      readonly label: LabelName;
      readonly deed: Deed;
      /** At which passing of the label, 1 for the next. */
      readonly passing: number;
    }
  /** The wall clock of its main thread goes wrong by this; clocks that only run on do not. */
  | { readonly kind: "skew"; readonly ms: number }
  /** Whatever nobody refers to goes; {@link Done.heapBytes} is what is left. */
  | { readonly kind: "collect" };

export interface Done {
  readonly done: Order["kind"];
  /** Of the main thread's heap. */
  readonly heapBytes?: number;
}
