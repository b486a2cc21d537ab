/**
 * Token hints of unfinished turns, worker → whoever shows them, over pub/sub on the state Redis.
 *
 * Lossy on purpose: a frame may be lost, repeated or late, and nothing but smoothness depends on
 * it. The end of a reply is always read from the ledger.
 */
import type { Redis } from "ioredis";
import type { Place } from "#infra/redis/keyring.ts";
import { liveChannel } from "#infra/redis/keys.ts";
import { framePlace } from "#infra/redis/places.ts";
import { plainRecords, type Records } from "#infra/redis/records.ts";
import type { ConversationId, LiveFrame } from "#infra/turn/index.ts";

/** A frame's text at most; longer replies send the part that changed. */
export const frameCharactersMax = 2_000;

export class LivePublisher {
  readonly #state: Redis;
  readonly #records: Records;

  constructor(state: Redis, records: Records = plainRecords) {
    this.#state = state;
    this.#records = records;
  }

  /** How many were told. A cluster knows only of those who listen at the node that was asked. */
  async publish(conversation: ConversationId, frame: LiveFrame): Promise<number> {
    // Without a connection it would wait for one, and come late: nothing is lost sooner than a hint.
    if (this.#state.status !== "ready") return 0;
    const text = this.#records.sealText(JSON.stringify(frame), framePlace(conversation));
    return this.#state.publish(liveChannel(conversation), text);
  }
}

export type FrameListener = (frame: LiveFrame) => void;

/** One subscribing connection, many conversations. */
export class LiveSubscriber {
  readonly #connection: Redis;
  readonly #listeners = new Map<string, Set<FrameListener>>();

  /** `connection` must be used for nothing else: it enters subscriber mode. */
  constructor(connection: Redis, records: Records = plainRecords) {
    this.#connection = connection;
    connection.on("message", (channel: string, message: string) => {
      const listeners = this.#listeners.get(channel);
      if (listeners === undefined) return;
      const frame = parseFrame(message, { key: channel, kind: "live frame" }, records);
      if (frame !== null) for (const listener of listeners) listener(frame);
    });
  }

  /** Frames of one conversation until the returned function is called. */
  async subscribe(
    conversation: ConversationId,
    listener: FrameListener,
  ): Promise<() => Promise<void>> {
    const channel = liveChannel(conversation);
    const listeners = this.#listeners.get(channel) ?? new Set();
    listeners.add(listener);
    if (listeners.size === 1) {
      this.#listeners.set(channel, listeners);
      await this.#connection.subscribe(channel);
    }
    return async () => {
      listeners.delete(listener);
      if (listeners.size > 0) return;
      this.#listeners.delete(channel);
      await this.#connection.unsubscribe(channel);
    };
  }
}

/** A hint that cannot be read is a hint lost. */
function parseFrame(message: string, place: Place, records: Records): LiveFrame | null {
  try {
    return JSON.parse(records.openText(message, place)) as LiveFrame;
  } catch {
    return null;
  }
}
