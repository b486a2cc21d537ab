/**
 * One reply on its way into Discord: a placeholder unless words come at once, live text by edits, the
 * end from the ledger.
 *
 * Promises: at most one request is in flight; what can wait waits for the pacer, first words and the
 * final edit do not; the reply is marked delivered only after Discord shows the ledger's text; where
 * truth has replicas, only a text that one of them has is shown as final. Killed anywhere → the next
 * process adopts it: noted parts are edited again (same text), unnoted ones are found by nonce or by
 * what they refer to.
 */
import { type Clock, over } from "#infra/clock/clock.ts";
import type { ReplyAddress } from "#infra/discord/open-replies.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import type { LiveSubscriber } from "#infra/live/live.ts";
import { addFrame, emptyView, type LiveView } from "#infra/live/view.ts";
import type { Mailbox } from "#infra/mailbox/mailbox.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import type { Replication } from "#infra/redis/replication.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import type { LiveFrame, ReplyRecord, TurnKey } from "#infra/turn/index.ts";
import type { Tail } from "../intake/tail.ts";
import type { GatewayMetrics } from "../metrics.ts";
import type { Carrier, MessageBody } from "./carrier.ts";
import { classifyFailure, failureCode } from "./failure.ts";
import type { Pacer } from "./pacer.ts";
import { isWorthAgain, type ReplyTexts } from "./texts.ts";
import {
  nextStep,
  type ShownPart,
  standing,
  type Step,
  type WantedPart,
  wantedCut,
  wantedFinal,
  wantedLive,
} from "./wanted.ts";

/** A placeholder that stands for less is a flicker, and a third of the requests of a short answer. */
const placeholderAfterMs = 150;
const retryMsMin = 500;
const retryMsMax = 10_000;
/** Until a record that no replica has is asked about again. */
const unconfirmedMs = 500;

export interface RenderParts {
  readonly carrier: Carrier;
  /** Of each attempt, for its buttons. */
  readonly texts: (key: TurnKey) => ReplyTexts;
  readonly ledger: Ledger;
  readonly replication: Pick<Replication, "confirms">;
  readonly mailbox: Mailbox;
  readonly live: LiveSubscriber;
  readonly pacer: Pacer;
  readonly tail: Pick<Tail, "forget" | "has">;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: GatewayMetrics;
}

/** The message that ends with a Regenerate button. */
export interface Ended {
  readonly channelId: string;
  readonly messageId: string;
}

/**
 * `delivered`: Discord shows the record. `given-up`: it never will. `deleted`: nor will there be one.
 * `closed`: by our own end.
 */
export type RenderEnd = "delivered" | "given-up" | "deleted" | "closed";

type Ending = Pick<ReplyRecord, "status" | "end" | "text" | "code"> & {
  /** False for a turn that the ledger does not know: there is nothing to be asked again. */
  readonly known: boolean;
};

/**
 * `adopted`: another process may have posted parts and the reply may be finished already.
 * `again`: another attempt's text stands there, which this one's replaces at once.
 */
export interface RenderStart {
  readonly adopted: boolean;
  readonly again: boolean;
}

export class Render {
  readonly #reply: ReplyAddress;
  readonly #parts: RenderParts;
  readonly #shown: ShownPart[] = [];
  #texts: ReplyTexts;
  #view: LiveView = emptyView;
  #ending: Ending | null = null;
  #recordReady = false;
  #again = false;
  #unwanted = false;
  #deleted = false;
  #unreachable = false;
  /** Another process may have posted parts that it had no time to note. */
  #unsearched = false;
  /** Parts that Discord takes; it has refused the next one for good. */
  #partsMax = Infinity;
  #failures = 0;
  /** Ends a wait for new text. */
  #wake: () => void = () => undefined;
  /** Ends the wait for the pacer, if there is one: what comes now is worth more than a steady pace. */
  #hurry: AbortController | null = null;
  readonly #closing = new AbortController();

  constructor(reply: ReplyAddress, parts: RenderParts) {
    this.#reply = reply;
    this.#parts = parts;
    this.#texts = parts.texts(reply.key);
  }

  /** Where the Regenerate button of this reply stands; null without one. */
  get ended(): Ended | null {
    const last = this.#shown.at(-1);
    if (last?.button !== "again") return null;
    return { channelId: this.#parts.carrier.channelId, messageId: last.messageId };
  }

  /** Truth has forgotten what stands in Discord. */
  async noteAgain(): Promise<void> {
    const { conversation, key } = this.#reply;
    for (const [index, { messageId }] of this.#shown.entries()) {
      await this.#parts.ledger.notePart(conversation, key, { index, messageId });
    }
  }

  /** The ledger has the reply. */
  finish(): void {
    this.#hurry?.abort(over);
    this.lookAgain();
  }

  /** Truth may have lost the turn, of which nobody would tell. */
  lookAgain(): void {
    this.#recordReady = true;
    this.#wake();
  }

  /** Nobody wants to read it any more: take away what stands there. */
  giveUp(): void {
    this.#unwanted = true;
    this.#hurry?.abort(over);
    this.#wake();
  }

  /** This process ends; the next one goes on. */
  close(): void {
    this.#closing.abort(over);
    this.#hurry?.abort(over);
    this.#wake();
  }

  async run(start: RenderStart): Promise<RenderEnd> {
    this.#again = start.again;
    const { live, log } = this.#parts;
    const subscription = live.subscribe(this.#reply.conversation, (frame) => this.#onFrame(frame));
    // Not waited for: with the state Redis away there is no live text, but there are replies.
    subscription.catch((error: unknown) => log.warn("no live text", errorFields(error)));
    try {
      if (start.adopted || start.again) await this.#recall();
      return await this.#show();
    } finally {
      subscription.then(async (unsubscribe) => unsubscribe()).catch(() => undefined);
    }
  }

  async #show(): Promise<RenderEnd> {
    let paced = false;
    while (!this.#closing.signal.aborted) {
      if (this.#unwanted) await this.#takeAway();
      if (this.#deleted) return "deleted";
      if (this.#unwanted || this.#unreachable) return "given-up";
      if (this.#recordReady && this.#ending === null) await this.#readEnding();
      const whole = this.#ending !== null || this.#again;
      const step = nextStep(this.#shown, this.#wanted(), whole);
      if (this.#unsearched && (step === null ? this.#ending !== null : step.kind === "post")) {
        // Once the whole text stands there is no hurry.
        if (step === null) await this.#parts.pacer.room(this.#closing.signal);
        await this.#search();
      } else if (step === null) {
        if (this.#ending !== null) return "delivered";
        if (!this.#recordReady) await this.#changed();
      } else if (!paced && this.#canWait(step)) {
        // What is wanted may have changed meanwhile: look again.
        paced = await this.#waitFor(step);
      } else {
        if (!paced) this.#parts.pacer.note(this.#parts.carrier.channelId);
        paced = false;
        await this.#perform(step);
      }
    }
    return "closed";
  }

  #wanted(): readonly WantedPart[] {
    const texts = this.#texts;
    const ending = this.#ending;
    if (ending === null) {
      // Another process's text stands there: better than starting again with a placeholder.
      const nothingNew = this.#view.text === "" && this.#shown.length > 0 && !this.#again;
      return nothingNew ? [] : wantedLive(this.#view.text, texts.thinking, this.#partsMax);
    }
    const button = ending.known && isWorthAgain(ending.code) ? "again" : null;
    if (ending.status === "failed") {
      return wantedFinal(texts.failure(ending.code ?? ""), "", button);
    }
    const instead = ending.end === "stopped" ? texts.stopped : texts.empty;
    const parts = wantedFinal(ending.text, instead, button);
    if (parts.length <= this.#partsMax) return parts;
    const notice = texts.failure("TURN_FAILED");
    return wantedCut(ending.text, { count: this.#partsMax, notice, button });
  }

  #canWait(step: Step): boolean {
    const spoke = this.#view.text.trim() !== "";
    // Who asks for another attempt sees at once that it has begun.
    const replaces = this.#again && !spoke;
    const firstWords = spoke && step.kind === "post" && step.index === 0;
    return this.#ending === null && !this.#recordReady && !replaces && !firstWords;
  }

  /** False when something came that cannot wait. */
  async #waitFor(step: Step): Promise<boolean> {
    if (this.#unwanted || this.#closing.signal.aborted) return false;
    const { carrier, clock, pacer } = this.#parts;
    this.#hurry = new AbortController();
    const { signal } = this.#hurry;
    const first = step.kind !== "remove" && step.index === 0;
    if (first && step.kind === "post") {
      await clock.sleep(placeholderAfterMs, signal);
      return pacer.room(signal);
    }
    const isPlaceholder = this.#shown[0]?.content === this.#texts.thinking;
    if (first && isPlaceholder) return pacer.firstWords(carrier.channelId, signal);
    return pacer.edit(carrier.channelId, signal);
  }

  async #perform(step: Step): Promise<void> {
    const { metrics } = this.#parts;
    try {
      if (step.kind === "post") await this.#post(step.index, step.part);
      else if (step.kind === "edit") await this.#edit(step.index, step.part);
      else await this.#remove(step.index);
      metrics.requests.inc({ kind: step.kind });
      this.#failures = 0;
    } catch (error) {
      await this.#failed(error, step);
    }
  }

  async #post(index: number, part: WantedPart): Promise<void> {
    const { carrier, ledger } = this.#parts;
    const firstId = this.#shown[0]?.messageId ?? null;
    const { messageId, ...posted } = await carrier.post(index, firstId, this.#body(part));
    // A repeated post returns the first message, perhaps with other text: then an edit is next.
    const asSent = posted.content === part.content.trim();
    this.#shown[index] = {
      messageId,
      content: asSent ? part.content : null,
      button: posted.hasButtons ? part.button : null,
    };
    await ledger.notePart(this.#reply.conversation, this.#reply.key, { index, messageId });
  }

  async #edit(index: number, part: WantedPart): Promise<void> {
    const messageId = this.#shown[index]?.messageId;
    if (messageId === undefined) return;
    await this.#parts.carrier.edit(index, messageId, this.#body(part));
    this.#shown[index] = { messageId, ...part };
  }

  async #remove(index: number): Promise<void> {
    const messageId = this.#shown[index]?.messageId;
    this.#shown.length = index;
    if (messageId === undefined) return;
    const { carrier, ledger } = this.#parts;
    try {
      await carrier.remove(messageId);
    } catch (error) {
      if (classifyFailure(error) === "passing") throw error;
    }
    await ledger.dropPart(this.#reply.conversation, this.#reply.key, index);
  }

  async #failed(error: unknown, step: Step): Promise<void> {
    const { clock, log, metrics } = this.#parts;
    const fields = { turn: this.#reply.key.turn, step: step.kind, code: failureCode(error) };
    metrics.requestsFailed.inc();
    if (classifyFailure(error) === "passing") {
      const retryMs = Math.min(retryMsMax, retryMsMin * 2 ** this.#failures++);
      log.warn("Discord request failed, trying again", { ...fields, retryMs });
      await clock.sleep(retryMs, this.#closing.signal);
      return;
    }
    if (step.kind === "post" && step.index > 0) {
      log.warn("reply cannot be shown to its end", fields);
      this.#partsMax = step.index;
      return;
    }
    log.warn("reply cannot be shown", fields);
    this.#unreachable = true;
  }

  /** Best effort: what cannot be removed was removed by somebody else. */
  async #takeAway(): Promise<void> {
    while (this.#shown.length > 0) {
      try {
        await this.#remove(this.#shown.length - 1);
      } catch (error) {
        const fields = { turn: this.#reply.key.turn, code: failureCode(error) };
        this.#parts.log.warn("placeholder left behind", fields);
      }
    }
  }

  /** Parts another process left, and the reply if it is finished or lost. */
  async #recall(): Promise<void> {
    const { ledger } = this.#parts;
    const { conversation, key } = this.#reply;
    for (const messageId of await ledger.parts(conversation, key))
      this.#shown.push(standing(messageId));
    this.#unsearched = true;
    // Noted parts can be edited at once; a hundred replies are not looked for before one of them moves.
    if (this.#shown.length === 0) await this.#search();
    // Never back to false: it may have been told meanwhile.
    if (await this.#isOver()) this.#recordReady = true;
  }

  /** Parts that stand in Discord behind those that were noted. */
  async #search(): Promise<void> {
    const { ledger } = this.#parts;
    const { conversation, key } = this.#reply;
    const found = await this.#find(this.#shown[0]?.messageId ?? null);
    this.#unsearched = false;
    const last = BigInt(this.#shown.at(-1)?.messageId ?? 0);
    for (const messageId of found.filter((id) => BigInt(id) > last)) {
      await ledger.notePart(conversation, key, { index: this.#shown.length, messageId });
      this.#shown.push(standing(messageId));
    }
  }

  async #find(firstId: string | null): Promise<string[]> {
    try {
      return await this.#parts.carrier.find(firstId);
    } catch (error) {
      // Without the right to read history a repeated post is only stopped by its nonce.
      const fields = { turn: this.#reply.key.turn, code: failureCode(error) };
      this.#parts.log.warn("could not look for an earlier reply", fields);
      return [];
    }
  }

  /** True when the turn waits nowhere: answered, or lost with a Redis that went back in time. */
  async #isOver(): Promise<boolean> {
    const { conversation, key } = this.#reply;
    const waiting = await this.#parts.mailbox.waiting(conversation);
    return !waiting.some((turn) => turn.id === key.turn && turn.attempt === key.attempt);
  }

  async #readEnding(): Promise<void> {
    const { ledger, log, tail } = this.#parts;
    const failed = { status: "failed", end: "failed", text: "", code: "TURN_FAILED" } as const;
    // Whoever tells from here on may tell of what was not there yet.
    this.#recordReady = false;
    try {
      const { conversation, key } = this.#reply;
      let record = await ledger.reply(conversation, key);
      const isOver = record === null && (await this.#isOver());
      // It may have been answered between the two.
      if (isOver) record = await ledger.reply(conversation, key);
      if (record !== null && !(await this.#isConfirmed(record))) return this.lookAgain();
      // Only a first attempt is put back.
      const comesBack = key.attempt === 0 && tail.has(key.turn);
      const isLost = record === null && isOver && !comesBack;
      if (record !== null) this.#ending = { ...record, known: true };
      else if (isLost) this.#ending = (await this.#before()) ?? { ...failed, known: false };
    } catch (error) {
      if (!(error instanceof EyrieError)) throw error;
      log.error("reply record refused", { turn: this.#reply.key.turn, code: error.code });
      this.#ending = { ...failed, code: error.code, known: true };
    }
  }

  /** The attempt that this one was to replace, as truth has it again; null without one. */
  async #before(): Promise<Ending | null> {
    const { ledger, texts } = this.#parts;
    const { conversation, key } = this.#reply;
    for (let attempt = key.attempt - 1; attempt >= 0; attempt--) {
      const before = { ...key, attempt };
      const record = await ledger.reply(conversation, before);
      if (record === null) continue;
      this.#texts = texts(before);
      return { ...record, known: true };
    }
    return null;
  }

  /**
   * Whether the record can be shown as final. One that a failover could still take back is shown like
   * text that grows, and asked about again; should it vanish, its turn is answered again.
   */
  async #isConfirmed(record: ReplyRecord): Promise<boolean> {
    const { clock, log, metrics, replication } = this.#parts;
    const { conversation, key } = this.#reply;
    if (await replication.confirms(conversationKeys(conversation).reply(key))) return true;
    metrics.unconfirmed.inc();
    if (this.#view.text !== record.text) {
      log.warn("no replica has this reply", { turn: key.turn });
      this.#view = { ...this.#view, text: record.text };
      return false;
    }
    await clock.sleep(unconfirmedMs, this.#closing.signal);
    return false;
  }

  #onFrame(frame: LiveFrame): void {
    const { turn, attempt } = this.#reply.key;
    if (frame.turn !== turn || frame.attempt !== attempt) return;
    if (frame.kind === "done" && frame.deleted === true) {
      this.#parts.tail.forget(turn);
      this.#deleted = true;
      return this.giveUp();
    }
    if (this.#recordReady || this.#ending !== null) return;
    if (frame.kind === "done") return this.finish();
    const view = addFrame(this.#view, frame);
    if (view === this.#view) return;
    this.#parts.metrics.frames.inc();
    const isFirst = this.#view.text === "";
    this.#view = view;
    // Whoever waits to show a placeholder can show words now.
    if (isFirst && this.#shown.length === 0) this.#hurry?.abort(over);
    this.#wake();
  }

  async #changed(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  #body(part: WantedPart): MessageBody {
    return { content: part.content, components: this.#texts.row(part.button) };
  }
}
