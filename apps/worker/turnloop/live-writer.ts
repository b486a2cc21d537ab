/**
 * Turns progress into live frames: the first word at once, then at most one frame per interval. A frame
 * holds the end of the text; of a longer one the whole is told at first and every now and then, in as
 * many frames, for readers that came later. Frames are hints, so a failed publish is forgotten.
 */
import type { Clock } from "#infra/clock/clock.ts";
import { frameCharactersMax, type LivePublisher } from "#infra/live/live.ts";
import type { ConversationId, TurnKey } from "#infra/turn/index.ts";
import type { Reply } from "./reply.ts";

/** Between two frames of a reply; Discord shows an edit a second at best. */
const frameMs = 75;
/** Between two times that a long text is told as a whole. */
const wholeMs = 2_000;

export class LiveWriter {
  readonly #publisher: LivePublisher;
  readonly #conversation: ConversationId;
  readonly #frame: TurnKey & { readonly fence: number };
  readonly #reply: Reply;
  readonly #mine: () => boolean;
  readonly #clock: Clock;
  #published = "";
  /** The wait for the next frame. */
  #waiting: AbortController | null = null;
  #lastMs = -Infinity;
  #wholeMs = -Infinity;

  constructor(
    publisher: LivePublisher,
    conversation: ConversationId,
    options: {
      readonly key: TurnKey;
      readonly fence: number;
      readonly reply: Reply;
      /** Asked before every frame: who does not hold the conversation any more says nothing. */
      readonly mine: () => boolean;
      readonly clock: Clock;
    },
  ) {
    this.#publisher = publisher;
    this.#conversation = conversation;
    this.#frame = { ...options.key, fence: options.fence };
    this.#reply = options.reply;
    this.#mine = options.mine;
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
    if (text === this.#published || !this.#mine()) return;
    const nowMs = this.#clock.monotonicMs();
    this.#lastMs = nowMs;
    this.#published = text;
    const whole = nowMs - this.#wholeMs >= wholeMs;
    if (whole) this.#wholeMs = nowMs;
    const { turn, attempt, fence } = this.#frame;
    const tokens = this.#reply.replyTokens;
    let at = whole ? 0 : Math.max(0, text.length - frameCharactersMax);
    for (; at < text.length; at += frameCharactersMax) {
      const part = text.slice(at, at + frameCharactersMax);
      this.#send({ kind: "text", turn, attempt, fence, at, text: part, tokens });
    }
  }

  #send(frame: Parameters<LivePublisher["publish"]>[1]): void {
    this.#publisher.publish(this.#conversation, frame).catch(() => {
      // A hint lost; the ledger has the truth.
    });
  }
}
