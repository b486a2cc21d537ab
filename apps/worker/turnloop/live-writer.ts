/**
 * Turns progress into live frames: the first word at once, then at most one frame per interval.
 * Frames are hints, so a failed publish is forgotten.
 */
import type { Clock } from "#infra/clock/clock.ts";
import { frameCharactersMax, type LivePublisher } from "#infra/live/live.ts";
import type { ConversationId, TurnKey } from "#infra/turn/index.ts";
import type { Reply } from "./reply.ts";

/** Between two frames of a reply; Discord shows an edit a second at best. */
const frameMs = 75;

export class LiveWriter {
  readonly #publisher: LivePublisher;
  readonly #conversation: ConversationId;
  readonly #frame: TurnKey & { readonly fence: number };
  readonly #reply: Reply;
  readonly #clock: Clock;
  #published = "";
  /** The wait for the next frame. */
  #waiting: AbortController | null = null;
  #lastMs = -Infinity;

  constructor(
    publisher: LivePublisher,
    conversation: ConversationId,
    options: {
      readonly key: TurnKey;
      readonly fence: number;
      readonly reply: Reply;
      readonly clock: Clock;
    },
  ) {
    this.#publisher = publisher;
    this.#conversation = conversation;
    this.#frame = { ...options.key, fence: options.fence };
    this.#reply = options.reply;
    this.#clock = options.clock;
  }

  progress(): void {
    if (this.#waiting !== null) return;
    const waiting = new AbortController();
    this.#waiting = waiting;
    const waitMs = Math.max(0, this.#lastMs + frameMs - this.#clock.monotonicMs());
    void this.#clock.sleep(waitMs, waiting.signal).then(() => {
      if (!waiting.signal.aborted) this.#publish();
    });
  }

  /** Says that the ledger has the reply, or simply goes quiet. */
  close(options: { readonly done: boolean }): void {
    this.#waiting?.abort();
    this.#waiting = null;
    if (!options.done) return;
    const { turn, attempt } = this.#frame;
    this.#send({ kind: "done", turn, attempt });
  }

  #publish(): void {
    this.#waiting = null;
    const text = this.#reply.text;
    if (text === this.#published) return;
    this.#lastMs = this.#clock.monotonicMs();
    this.#published = text;
    const at = Math.max(0, text.length - frameCharactersMax);
    const { turn, attempt, fence } = this.#frame;
    const tokens = this.#reply.replyTokens;
    this.#send({ kind: "text", turn, attempt, fence, at, text: text.slice(at), tokens });
  }

  #send(frame: Parameters<LivePublisher["publish"]>[1]): void {
    this.#publisher.publish(this.#conversation, frame).catch(() => {
      // A hint lost; the ledger has the truth.
    });
  }
}
