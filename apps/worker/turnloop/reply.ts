/**
 * One reply in progress, pure: which tokens to feed next, and what a drawn token means.
 *
 * prompt ──▶ decode ──▶ closing ──▶ done
 *
 * Prompt: the tokens that restore the state, then the turn's own. Decode: each drawn token is fed
 * back. A reply ends when its bytes contain a blank line, at token 0, at its token limit, or when it
 * is stopped; closing then feeds what is missing so that the state ends right after `\n\n`, whatever
 * token the end was part of. `logTokens` is exactly what was fed after the restored part.
 *
 * Hundreds of replies are asked for each token of theirs, and what they hold is no longer in the CPU's
 * caches by then: a token of the decode phase touches as little as it can. What was fed is a count; the
 * text is made when somebody reads it.
 *
 * A reply that another worker began goes on behind the tokens which that one drew: its state was handed
 * over too, or they are fed after the prompt, in chunks; the next draw has the number and the penalties it
 * would have had.
 *
 * The state is settled wherever a block of the log ends, replayed or new: it is rounded to what a
 * snapshot keeps of it. So a state is a function of the log alone, whether it stayed in its slot, came
 * back from a snapshot, or was replayed in part or whole. A feed never reaches across such an end.
 */
import assert from "node:assert/strict";
import type { SampleOptions } from "#kernels/backends/contract.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { type EndReason, replyEnd, type Sampling } from "#infra/turn/index.ts";

/** Id 0 ends a text in every World vocabulary. */
const endOfText = 0;
const newline = 0x0a;
/** Instead of one made for each token; never changed. */
const nothing: number[] = [];

export interface ReplyOptions {
  readonly tokenizer: Tokenizer;
  /** Blocks that bring the slot's state to the log head; fed first and not logged again. */
  readonly replay: readonly (readonly number[])[];
  readonly prompt: readonly number[];
  readonly seed: string;
  readonly sampling: Sampling;
  readonly maxTokens: number;
  /** Drawn by an earlier worker; what was seen of it stays as it is. */
  readonly drawn?: readonly number[];
  /** The slot's state is already that worker's, behind {@link Reply.ahead}: nothing is fed again. */
  readonly takenUp?: boolean;
}

export interface Feed {
  readonly tokens: readonly number[];
  /** Until the next tokens are taken. */
  readonly sample?: SampleOptions;
  /** The last of these tokens ends a block of the log: the state is to be settled after the step. */
  readonly endsBlock: boolean;
}

export class Reply {
  readonly #options: ReplyOptions;
  readonly #stream;
  /** One object for all draws, with the number of the next one. */
  readonly #draws: { -readonly [Name in keyof SampleOptions]: SampleOptions[Name] };
  #phase: "prompt" | "decode" | "closing" | "done" = "prompt";
  /** Of the turn itself. */
  #pending: number[];
  /** Of the prompt and the tokens drawn, in this order, so many were fed. */
  #fed = 0;
  /** Fed while closing, behind those. */
  #fedClosing: readonly number[] = [];
  /** To be fed before anything of the turn, the first one perhaps in part. */
  #replay: number[][] | null;
  readonly replayedTokens: number;
  /** Every token drawn, also those that are not fed: the end marker, what lies behind it. */
  readonly #drawn: number[] = [];
  /** Draws made by an earlier worker. */
  readonly #drawnEarlier: number;
  /** What an earlier worker had fed of this turn. */
  readonly ahead: readonly number[];
  /** Tokens to be fed until the place is reached where the earlier worker was. */
  #behind = 0;
  /** Of the first `#read` tokens drawn. */
  #text = "";
  #read = 0;
  /** The last byte of everything drawn so far, for an end that spans two tokens. */
  #lastByte = -1;
  #end: EndReason | null = null;

  constructor(options: ReplyOptions) {
    assert(options.prompt.length > 0 && options.maxTokens > 0);
    this.#options = options;
    this.#stream = options.tokenizer.stream();
    this.#draws = { seed: options.seed, draw: 0, ...options.sampling };
    this.#pending = [...options.prompt];
    const replay = options.replay.filter(({ length }) => length > 0).map((block) => [...block]);
    this.#replay = replay.length === 0 ? null : replay;
    this.replayedTokens = replay.reduce((sum, { length }) => sum + length, 0);
    const fed: number[] = [];
    for (const token of options.drawn ?? []) {
      fed.push(...this.#pending);
      this.#draw(token);
      if (this.#phase !== "decode") break;
    }
    this.ahead = fed;
    if (options.takenUp === true) {
      this.#fed = fed.length;
    } else {
      this.#behind = fed.length;
      this.#pending.unshift(...fed);
    }
    this.#drawnEarlier = this.#drawn.length;
  }

  get done(): boolean {
    return this.#phase === "done";
  }

  get decoding(): boolean {
    const drawing = this.#phase === "decode" || this.#phase === "closing";
    return drawing && this.#behind === 0 && this.#replay === null;
  }

  /** Tokens that can be fed in one step now. */
  get waiting(): number {
    return this.#replay === null ? this.#pending.length : this.#replay[0]!.length;
  }

  /** Why it ended; null while it runs. */
  get end(): EndReason | null {
    return this.#end;
  }

  /** Visible text so far: no leading space, no end marker. */
  get text(): string {
    if (this.#end === null) this.#readTo(this.#drawn.length);
    const text = this.#text.trimStart();
    return this.#end === null ? text : text.trimEnd();
  }

  get replyTokens(): number {
    return this.#drawn.length;
  }

  /** What a successor goes on from, see {@link ReplyOptions.drawn}. */
  get drawn(): readonly number[] {
    return this.#drawn;
  }

  /** The tokens of this turn's log block. */
  get logTokens(): readonly number[] {
    const { prompt } = this.#options;
    const drawn = this.#drawn.slice(0, Math.max(0, this.#fed - prompt.length));
    return [...prompt.slice(0, this.#fed), ...drawn, ...this.#fedClosing];
  }

  /**
   * What was fed of the turn, when the state behind it is one that a successor can go on from: all before
   * it was replayed, and the next token is drawn and not yet fed. Null otherwise.
   */
  get standsBehind(): readonly number[] | null {
    return this.#phase === "decode" && this.decoding ? this.logTokens : null;
  }

  /** Takes up to `count` tokens to feed in the next step. */
  take(count: number): Feed {
    if (this.#replay !== null) return this.#takeReplay(this.#replay, count);
    const tokens = this.#takePending(count);
    assert(tokens.length > 0, "nothing to feed");
    const closing = this.#phase === "closing";
    if (closing) this.#fedClosing = [...this.#fedClosing, ...tokens];
    else this.#fed += tokens.length;
    if (this.#behind > 0) this.#behind = Math.max(0, this.#behind - tokens.length);
    if (this.#pending.length > 0) return { tokens, endsBlock: false };
    if (closing) return { tokens, endsBlock: true };
    return { tokens, sample: this.#sample(), endsBlock: false };
  }

  #takePending(count: number): number[] {
    if (count < this.#pending.length) return this.#pending.splice(0, count);
    const tokens = this.#pending;
    this.#pending = nothing;
    return tokens;
  }

  /** After a step: the drawn token, or null when none was asked for. */
  accept(token: number | null): void {
    // More to feed, or stopped while the step was running: the drawn token is not used.
    if (this.waiting > 0 || this.#phase === "done") return;
    if (this.#phase === "closing") {
      this.#phase = "done";
      return;
    }
    assert(token !== null, "a draw was asked for");
    this.#draw(token);
  }

  /** What a drawn token means; sets what is to be fed next. */
  #draw(token: number): void {
    this.#phase = "decode";
    this.#drawn.push(token);
    if (token === endOfText) return this.#close("stop", this.#missingEnd());
    const bytes = this.#options.tokenizer.bytesOf(token);
    const end = this.#findEnd(bytes);
    if (end !== null) {
      this.#readTo(this.#drawn.length - 1);
      const last = bytes.subarray(0, end);
      this.#text += this.#stream.pushBytes(last);
      this.#read++;
      return this.#close("stop", this.#options.tokenizer.encode(last));
    }
    if (bytes.length > 0) this.#lastByte = bytes[bytes.length - 1]!;
    if (this.#drawn.length >= this.#options.maxTokens) {
      return this.#close("length", [token, ...this.#missingEnd()]);
    }
    this.#pending = [token];
  }

  /** Ends it with what it has said so far. Before the first word nothing of the turn is kept. */
  stop(reason: "stopped" | "deadline"): void {
    if (this.#phase === "prompt") {
      this.#end = reason;
      this.#phase = "done";
      this.#replay = null;
      this.#pending = nothing;
      this.#fed = 0;
    } else if (this.#phase === "decode") {
      this.#close(reason, [...this.#pending, ...this.#missingEnd()]);
    }
  }

  #takeReplay(replay: number[][], count: number): Feed {
    const block = replay[0]!;
    const tokens = block.splice(0, count);
    const endsBlock = block.length === 0;
    if (endsBlock) replay.shift();
    if (replay.length === 0) this.#replay = null;
    return { tokens, endsBlock };
  }

  #close(reason: EndReason, tokens: number[]): void {
    this.#end = reason;
    this.#readTo(this.#drawn.length);
    this.#text += this.#stream.flush();
    const end = this.#text.indexOf(replyEnd);
    if (end >= 0) this.#text = this.#text.slice(0, end);
    this.#pending = tokens;
    this.#phase = "closing";
  }

  /** Offset just behind the first blank line that ends inside `bytes`, or null. */
  #findEnd(bytes: Uint8Array): number | null {
    let before = this.#lastByte;
    for (let index = 0; index < bytes.length; index++) {
      const byte = bytes[index]!;
      if (byte === newline && before === newline) return index + 1;
      before = byte;
    }
    return null;
  }

  /** Makes text of the tokens drawn before this one. */
  #readTo(end: number): void {
    const { tokenizer } = this.#options;
    for (; this.#read < end; this.#read++) {
      this.#text += this.#stream.pushBytes(tokenizer.bytesOf(this.#drawn[this.#read]!));
    }
  }

  /** What has to follow the drawn bytes so that they end in a blank line. */
  #missingEnd(): number[] {
    return this.#options.tokenizer.encode(this.#lastByte === newline ? "\n" : replyEnd);
  }

  #sample(): SampleOptions {
    const draw = this.#drawn.length;
    this.#draws.draw = draw;
    const begunElsewhere = draw > 0 && draw === this.#drawnEarlier;
    return begunElsewhere ? { ...this.#draws, earlier: [...this.#drawn] } : this.#draws;
  }
}
