/**
 * Replies that are finished: their button goes when the next question comes, and those taken back
 * say so. All of it is courtesy: what cannot be edited stays as it is, and a button that is left
 * behind answers by name.
 */
import type { REST } from "discord.js";
import type { Clock } from "#infra/clock/clock.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import type { Log } from "#infra/telemetry/log.ts";
import type { ConversationId, ReplyRecord, TurnKey } from "#infra/turn/index.ts";
import { carrierFor, stripButtons } from "./carrier.ts";
import { failureCode } from "./failure.ts";
import type { Pacer } from "./pacer.ts";
import { messageCharactersMax } from "./split.ts";
import type { ReplyTexts } from "./texts.ts";
import { wantedFinal } from "./wanted.ts";

/** Discord allows few edits of messages older than an hour; no button is worth one. */
const stripWithinMs = 55 * 60_000;
/** Between two of them: replies that are read now have the rest. */
const stripIntervalMs = 250;
/** Who would wait longer in a storm of questions keeps the button. */
const stripWaitMsMax = 30_000;
const conversationsMax = 10_000;

export interface FinishedParts {
  readonly rest: REST;
  readonly selfId: string;
  readonly ledger: Ledger;
  readonly pacer: Pick<Pacer, "room">;
  readonly clock: Clock;
  readonly translator: Translator;
  readonly log: Log;
}

interface WithButton {
  readonly channelId: string;
  readonly messageId: string;
  readonly atMs: number;
}

export class Finished {
  readonly #parts: FinishedParts;
  /** Conversation → the message that has its Regenerate button; this process's own, bounded. */
  readonly #buttons = new Map<ConversationId, WithButton>();
  /** Monotonic ms from which the next button may be taken. */
  #stripDueMs = 0;

  constructor(parts: FinishedParts) {
    this.#parts = parts;
  }

  /** The last part of a reply stands there, with its button. */
  note(conversation: ConversationId, channelId: string, messageId: string): void {
    const atMs = this.#parts.clock.monotonicMs();
    this.#buttons.delete(conversation);
    this.#buttons.set(conversation, { channelId, messageId, atMs });
    if (this.#buttons.size <= conversationsMax) return;
    const [oldest] = this.#buttons.keys();
    if (oldest !== undefined) this.#buttons.delete(oldest);
  }

  /** A new question: the answer before it can no longer be written anew. */
  async strip(conversation: ConversationId, signal: AbortSignal): Promise<void> {
    const { clock, log, pacer, rest } = this.#parts;
    const button = this.#buttons.get(conversation);
    this.#buttons.delete(conversation);
    if (button === undefined || clock.monotonicMs() - button.atMs > stripWithinMs) return;
    const waitMs = this.#waitToStrip();
    if (waitMs > stripWaitMsMax) return;
    if (waitMs > 0) await clock.sleep(waitMs, signal);
    if (!(await pacer.room(signal))) return;
    try {
      await stripButtons({ rest, signal }, button);
    } catch (error) {
      log.debug("button left behind", { conversation, code: failureCode(error) });
    }
  }

  /** Takes the next place in the line, unless it is too far behind. */
  #waitToStrip(): number {
    const nowMs = this.#parts.clock.monotonicMs();
    const dueMs = Math.max(nowMs, this.#stripDueMs);
    const waitMs = dueMs - nowMs;
    if (waitMs <= stripWaitMsMax) this.#stripDueMs = dueMs + stripIntervalMs;
    return waitMs;
  }

  /** Marks a reply as taken back, and takes its button. */
  async retire(
    conversation: ConversationId,
    key: TurnKey,
    work: { readonly texts: (record: ReplyRecord) => ReplyTexts; readonly signal: AbortSignal },
  ): Promise<void> {
    const { ledger, log } = this.#parts;
    try {
      const record = await ledger.reply(conversation, key);
      const messageIds = await ledger.parts(conversation, key);
      if (record !== null) await this.#mark(record, { messageIds, key, ...work });
    } catch (error) {
      const code = error instanceof EyrieError ? error.code : failureCode(error);
      log.warn("reply not marked", { turn: key.turn, code });
    }
  }

  async #mark(
    record: ReplyRecord,
    work: {
      readonly key: TurnKey;
      readonly messageIds: readonly string[];
      readonly texts: (record: ReplyRecord) => ReplyTexts;
      readonly signal: AbortSignal;
    },
  ): Promise<void> {
    const { key, messageIds, signal } = work;
    const carrier = carrierFor(
      { ...record, key },
      { ...this.#parts, signal, tokenLives: () => false },
    );
    const messageId = messageIds.at(-1);
    if (carrier === null || messageId === undefined) return;
    const { empty, stopped, undone } = work.texts(record);
    const instead = record.end === "stopped" ? stopped : empty;
    const parts = wantedFinal(record.text, instead, null);
    const content = `${parts.at(-1)?.content ?? ""}\n${undone}`;
    const fits = Array.from(content).length <= messageCharactersMax;
    if (fits && parts.length === messageIds.length) {
      await carrier.edit(messageIds.length - 1, messageId, { content, components: [] });
    } else {
      await stripButtons({ ...this.#parts, signal }, { channelId: carrier.channelId, messageId });
    }
  }
}
