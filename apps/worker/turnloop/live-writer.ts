/**
 * Turns progress into live frames: the first word at once, then at most one frame per beat. Frames
 * are hints, so a failed publish is forgotten.
 *
 * All replies of a worker publish on the same beat, so that their frames travel together; it is slower
 * when they are many, as nobody is shown them as often then (`pacer.ts`). A frame holds what is new since
 * the one before; every tenth tells all of it, in as many messages as it takes, for readers who missed one.
 * Somebody who begins to listen (a gateway that takes over) is told all of it right after their first frame.
 */
import { type Clock, over } from "#infra/clock/clock.ts";
import { frameCharactersMax, type LivePublisher } from "#infra/live/live.ts";
import type { ConversationId, LiveFrame, TurnKey } from "#infra/turn/index.ts";
import type { Reply } from "./reply.ts";

/** Between two frames of a reply; Discord shows an edit a second at best. */
const frameMs = 100;
/** So many replies keep that beat; it slows as they grow beyond. */
const repliesPerFrame = 20;
const frameMsMax = 1_000;
/** Of so many frames one tells the whole text. */
const wholeEvery = 10;

/** The beat of a worker that is writing so many replies. */
function beatMs(replies: number): number {
  return Math.min(frameMsMax, frameMs * Math.max(1, Math.ceil(replies / repliesPerFrame)));
}

export class LiveWriter {
  readonly #publisher: LivePublisher;
  readonly #conversation: ConversationId;
  readonly #frame: TurnKey & { readonly fence: number };
  readonly #reply: Reply;
  readonly #mine: () => boolean;
  readonly #replies: () => number;
  readonly #clock: Clock;
  #published = "";
  #frames = 0;
  /** Who heard the last frame. */
  #readers = 0;
  /** The next frame is waited for. */
  #waiting = false;
  readonly #closed = new AbortController();

  constructor(
    publisher: LivePublisher,
    conversation: ConversationId,
    options: {
      readonly key: TurnKey;
      readonly fence: number;
      readonly reply: Reply;
      /** Asked before every frame: who does not hold the conversation any more says nothing. */
      readonly mine: () => boolean;
      /** That this worker is writing now. */
      readonly replies: () => number;
      readonly clock: Clock;
    },
  ) {
    this.#publisher = publisher;
    this.#conversation = conversation;
    this.#frame = { ...options.key, fence: options.fence };
    this.#reply = options.reply;
    this.#mine = options.mine;
    this.#replies = options.replies;
    this.#clock = options.clock;
  }

  progress(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    const { signal } = this.#closed;
    const ms = beatMs(this.#replies());
    const waitMs = this.#frames === 0 ? 0 : ms - (this.#clock.monotonicMs() % ms);
    void this.#clock.sleep(waitMs, signal).then(() => {
      if (!signal.aborted) this.#publish();
    });
  }

  /** Says that the ledger has the reply, or simply goes quiet. */
  close(options: { readonly done: boolean }): void {
    this.#closed.abort(over);
    if (!options.done) return;
    const { turn, attempt } = this.#frame;
    this.#send({ kind: "done", turn, attempt });
  }

  #publish(): void {
    this.#waiting = false;
    const text = this.#reply.text;
    if (text === this.#published || !this.#mine()) return;
    const whole = this.#frames++ % wholeEvery === 0 || !text.startsWith(this.#published);
    this.#tell(text, whole ? 0 : this.#published.length);
  }

  #tell(text: string, from: number): void {
    this.#published = text;
    const { turn, attempt, fence } = this.#frame;
    const tokens = this.#reply.replyTokens;
    for (let at = from; at < text.length; at += frameCharactersMax) {
      const part = text.slice(at, at + frameCharactersMax);
      this.#send({ kind: "text", turn, attempt, fence, at, text: part, tokens });
    }
  }

  #send(frame: LiveFrame): void {
    const sent = this.#publisher.publish(this.#conversation, frame).then((readers) => {
      const joined = frame.kind === "text" && frame.at > 0 && readers > this.#readers;
      this.#readers = readers;
      if (joined && !this.#closed.signal.aborted && this.#mine()) this.#tell(this.#reply.text, 0);
    });
    sent.catch(() => {
      // A hint lost; the ledger has the truth.
    });
  }
}
