/** What became of each question, as people in Discord saw it. */
import { MessageFlags } from "discord-api-types/v10";
import type { Message } from "#test/doubles/discord/index.ts";
import { promptFor, turnSeed, turnId } from "#infra/turn/index.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import type { Asked, Stage } from "./stage.ts";
import { Words } from "./scripted.ts";

/** Stands behind text that is still growing. */
const cursor = " ▌";

/** Milliseconds from the moment when it should have been asked. */
export interface Seen {
  /** Anything at all, mostly the placeholder. */
  readonly noticedMs: number;
  readonly firstTextMs: number;
  readonly finalMs: number;
  /** The whole reply stands there, and it is the one that the script says. */
  readonly right: boolean;
}

export class Replies {
  readonly #stage: Stage;
  readonly #words: Words;
  readonly #tokenizer: Tokenizer;
  readonly #replyTokens: number;

  constructor(stage: Stage, tokenizer: Tokenizer, replyTokens: number) {
    this.#stage = stage;
    this.#words = new Words(tokenizer);
    this.#tokenizer = tokenizer;
    this.#replyTokens = replyTokens;
  }

  /** Null while no finished reply stands there. */
  seen({ channel, trigger, plannedMs }: Asked): Seen | null {
    const parts = this.#stage.double
      .botMessages(channel)
      .filter((message) => message.replyTo === trigger && !isNotice(message));
    const [first] = parts;
    const last = parts.at(-1);
    if (first === undefined || last === undefined || !this.#isFinal(last)) return null;
    const said = first.history.find(({ content }) => content !== this.#stage.thinking);
    return {
      noticedMs: first.createdAtMs - plannedMs,
      firstTextMs: (said?.atMs ?? NaN) - plannedMs,
      finalMs: finishedMs(last) - plannedMs,
      right: plain(parts.map(({ wire }) => wire.content).join("")) === this.#expected(trigger),
    };
  }

  #isFinal({ wire }: Message): boolean {
    return wire.content !== this.#stage.thinking && !wire.content.endsWith(cursor);
  }

  #expected(trigger: Message): string {
    const seed = turnSeed({ turn: turnId(trigger.id), attempt: 0 });
    const ids = this.#words.reply(seed, this.#replyTokens);
    return plain(new TextDecoder().decode(this.#tokenizer.decode(ids)));
  }
}

/** What could not be asked was refused, by name and silently: no answer, and none that is wrong. */
function isNotice({ wire }: Message): boolean {
  return ((wire.flags ?? 0) & MessageFlags.SuppressNotifications) !== 0;
}

/** When it said for the first time what it says now; its buttons may have gone later. */
function finishedMs({ history, wire }: Message): number {
  return history.find(({ content }) => content === wire.content)?.atMs ?? NaN;
}

/** Messages are trimmed by Discord. */
function plain(text: string): string {
  return text.replaceAll(/\s/g, "");
}

/** A text that is this many tokens of a prompt, as nearly as whole words can be. */
export function questionOf(tokens: number, tokenizer: Tokenizer): string {
  let text = "Tell";
  while (tokenizer.encode(promptFor(text)).length < tokens) text += " me more";
  return text;
}
