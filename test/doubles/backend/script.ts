/**
 * What the scripted backend says, as a pure function of every token that it was ever fed.
 *
 * A reply begins with a mark, a checksum of the whole conversation so far. So a state that skipped a
 * turn, took one twice, or holds a byte of another conversation says something else than the
 * {@link Oracle}, which knows only what people said. Words in brackets in a message order the rest:
 *
 *   [words=40]  length of the reply     [ms=50]  time of each of its steps
 *   [die]       the process kills itself at the second word, as a poisonous turn does
 *   [nan]       the logits of its second word are not finite
 */
import { promptFor } from "#infra/turn/index.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

/** Two checksums and a count: whole numbers that fp32 holds exactly. */
export type Memory = readonly [number, number, number];

export const emptyMemory: Memory = [0, 0, 0];
/** Primes below 2^23. */
const [modulusA, modulusB] = [8_388_593, 8_388_587];

export function feed([a, b, count]: Memory, token: number): Memory {
  return [(a * 31 + token + 1) % modulusA, (b * 37 + token + 7) % modulusB, count + 1];
}

export interface Orders {
  readonly words: number;
  readonly stepMs: number;
  readonly dies: boolean;
  readonly notFinite: boolean;
}

export function ordersIn(message: string): Orders {
  const number = (name: string, otherwise: number): number => {
    const found = new RegExp(`\\[${name}=(\\d+)\\]`).exec(message)?.[1];
    return found === undefined ? otherwise : Number(found);
  };
  return {
    words: number("words", 4),
    stepMs: number("ms", 0),
    dies: message.includes("[die]"),
    notFinite: message.includes("[nan]"),
  };
}

/** What a person reads. */
export function replyText([a, b, count]: Memory, { words }: Orders): string {
  const mark = `${a.toString(16)}-${b.toString(16)}-${count}`;
  return [mark, ...Array.from({ length: words }, (_, index) => `word${index}`)].join(" ");
}

/** The tokens drawn one after the other, with the end of the reply. */
export function scriptOf(memory: Memory, orders: Orders, tokenizer: Tokenizer): number[] {
  return tokenizer.encode(` ${replyText(memory, orders)}\n\n`);
}

/** Foretells one conversation's replies, told nothing but the messages of its committed turns. */
export class Oracle {
  readonly #tokenizer: Tokenizer;
  #memory = emptyMemory;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Tokens that the conversation's log holds by now. */
  get tokens(): number {
    return this.#memory[2];
  }

  reply(message: string): string {
    this.#feed(this.#tokenizer.encode(promptFor(message)));
    const said = this.#memory;
    const orders = ordersIn(message);
    this.#feed(scriptOf(said, orders, this.#tokenizer));
    return replyText(said, orders);
  }

  #feed(tokens: readonly number[]): void {
    for (const token of tokens) this.#memory = feed(this.#memory, token);
  }
}
