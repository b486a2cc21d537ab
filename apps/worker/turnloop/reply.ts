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
  readonly sample?: SampleOptions;
  /** The last of these tokens ends a block of the log: the state is to be settled after the step. */
  readonly endsBlock: boolean;
}

export class Reply {
  readonly #options: ReplyOptions;
  readonly #stream;
  #phase: "prompt" | "decode" | "closing" | "done" = "prompt";
  /** Of the turn itself. */
  #pending: number[];
  #fedLog: number[] = [];
  /** Blocks still to be fed, the first one perhaps in part. */
  #replay: number[][];
  readonly replayedTokens: number;
  /** Every token drawn, also those that are not fed: the end marker, what lies behind it. */
  readonly #drawn: number[] = [];
  /** Draws made by an earlier worker. */
  readonly #drawnEarlier: number;
  /** What an earlier worker had fed of this turn. */
  readonly ahead: readonly number[];
  /** Tokens to be fed until the place is reached where the earlier worker was. */
  #behind = 0;
  #text = "";
  /** The last byte of everything drawn so far, for an end that spans two tokens. */
  #lastByte = -1;
  #end: EndReason | null = null;

  constructor(options: ReplyOptions) {
    assert(options.prompt.length > 0 && options.maxTokens > 0);
    this.#options = options;
    this.#stream = options.tokenizer.stream();
    this.#pending = [...options.prompt];
    this.#replay = options.replay.filter(({ length }) => length > 0).map((block) => [...block]);
    this.replayedTokens = this.#replay.reduce((sum, { length }) => sum + length, 0);
    const fed: number[] = [];
    for (const token of options.drawn ?? []) {
      fed.push(...this.#pending);
      this.#draw(token);
      if (this.#phase !== "decode") break;
    }
    this.ahead = fed;
    if (options.takenUp === true) {
      this.#fedLog.push(...fed);
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
    return drawing && this.#behind === 0 && this.#replay.length === 0;
  }

  /** Tokens that can be fed in one step now. */
  get waiting(): number {
    return this.#replay[0]?.length ?? this.#pending.length;
  }

  /** Why it ended; null while it runs. */
  get end(): EndReason | null {
    return this.#end;
  }

  /** Visible text so far: no leading space, no end marker. */
  get text(): string {
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
    return this.#fedLog;
  }

  /**
   * What was fed of the turn, when the state behind it is one that a successor can go on from: all before
   * it was replayed, and the next token is drawn and not yet fed. Null otherwise.
   */
  get standsBehind(): readonly number[] | null {
    return this.#phase === "decode" && this.decoding ? this.#fedLog : null;
  }

  /** Takes up to `count` tokens to feed in the next step. */
  take(count: number): Feed {
    const [block] = this.#replay;
    if (block !== undefined) return this.#takeReplay(block, count);
    const tokens = this.#takePending(count);
    assert(tokens.length > 0, "nothing to feed");
    for (const token of tokens) this.#fedLog.push(token);
    this.#behind = Math.max(0, this.#behind - tokens.length);
    if (this.#pending.length > 0) return { tokens, endsBlock: false };
    if (this.#phase === "closing") return { tokens, endsBlock: true };
    return { tokens, sample: this.#sample(), endsBlock: false };
  }

  #takePending(count: number): number[] {
    if (count < this.#pending.length) return this.#pending.splice(0, count);
    const tokens = this.#pending;
    this.#pending = [];
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
      this.#read(bytes.subarray(0, end));
      return this.#close("stop", this.#options.tokenizer.encode(bytes.subarray(0, end)));
    }
    this.#read(bytes);
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
      this.#replay = [];
      this.#pending = [];
      this.#fedLog = [];
    } else if (this.#phase === "decode") {
      this.#close(reason, [...this.#pending, ...this.#missingEnd()]);
    }
  }

  #takeReplay(block: number[], count: number): Feed {
    const tokens = block.splice(0, count);
    const endsBlock = block.length === 0;
    if (endsBlock) this.#replay.shift();
    return { tokens, endsBlock };
  }

  #close(reason: EndReason, tokens: number[]): void {
    this.#end = reason;
    this.#text += this.#stream.flush();
    const end = this.#text.indexOf(replyEnd);
    if (end >= 0) this.#text = this.#text.slice(0, end);
    this.#pending = tokens;
    this.#phase = "closing";
  }

  /** Offset just behind the first blank line that ends inside `bytes`, or null. */
  #findEnd(bytes: Uint8Array): number | null {
    let before = this.#lastByte;
    for (const [index, byte] of bytes.entries()) {
      if (byte === newline && before === newline) return index + 1;
      before = byte;
    }
    return null;
  }

  #read(bytes: Uint8Array): void {
    this.#text += this.#stream.pushBytes(bytes);
    this.#lastByte = bytes.at(-1) ?? this.#lastByte;
  }

  /** What has to follow the drawn bytes so that they end in a blank line. */
  #missingEnd(): number[] {
    return this.#options.tokenizer.encode(this.#lastByte === newline ? "\n" : replyEnd);
  }

  #sample(): SampleOptions {
    const draw = this.#drawn.length;
    const { sampling, seed } = this.#options;
    // Written out: this is made for each token.
    const sample = {
      seed,
      draw,
      temperature: sampling.temperature,
      topP: sampling.topP,
      presencePenalty: sampling.presencePenalty,
      frequencyPenalty: sampling.frequencyPenalty,
      penaltyDecay: sampling.penaltyDecay,
    };
    const begunElsewhere = draw > 0 && draw === this.#drawnEarlier;
    return begunElsewhere ? { ...sample, earlier: [...this.#drawn] } : sample;
  }
}
