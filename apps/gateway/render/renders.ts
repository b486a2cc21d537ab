/**
 * All replies that this gateway is showing, and the outbox: whatever the ledger holds undelivered
 * is shown, whether or not this process has seen its turn.
 *
 * Promises: one render per reply; a reply leaves the outbox only when it is delivered or can never
 * be. One gateway serves a bot token: two would show every reply twice as often.
 */
import type { REST } from "discord.js";
import { type Clock, over } from "#infra/clock/clock.ts";
import { requestStop } from "#infra/control/control.ts";
import {
  type OpenReplies,
  type OpenReply,
  openReplyOf,
  type ReplyAddress,
} from "#infra/discord/open-replies.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { Ledger, OutboxEntry } from "#infra/ledger/ledger.ts";
import type { LiveSubscriber } from "#infra/live/live.ts";
import type { Mailbox } from "#infra/mailbox/mailbox.ts";
import { outboxMember } from "#infra/redis/keys.ts";
import type { Replication } from "#infra/redis/replication.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import type {
  ConversationId,
  ReplyRecord,
  Turn,
  TurnId,
  TurnKey,
  UserId,
} from "#infra/turn/index.ts";
import type { Buttons } from "../commands/buttons.ts";
import type { Tail } from "../intake/tail.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { carrierFor } from "./carrier.ts";
import { Finished } from "./finished.ts";
import type { Pacer } from "./pacer.ts";
import { Render, type RenderStart } from "./render.ts";
import { replyTexts, type ReplyTexts } from "./texts.ts";

export const outboxScanMs = 2_000;
/** Scans until replies that nobody tells anything of are looked after: half a minute. */
const scansPerLook = 15;
/** Requests in flight may end; those behind a rate limit are for the next process. */
const closeMsMax = 1_000;
const cutOffMsMax = 100;
/** How long an order waits for a reply that is just being finished. */
const settleMsMax = 1_500;
/** An interaction's token lives 15 minutes. */
const tokenLivesMs = 14 * 60_000;

export interface RendersParts {
  readonly rest: REST;
  readonly selfId: string;
  readonly truth: ScriptedRedis;
  readonly ledger: Ledger;
  readonly replication: Pick<Replication, "confirms">;
  readonly mailbox: Mailbox;
  readonly live: LiveSubscriber;
  readonly openReplies: OpenReplies;
  readonly pacer: Pacer;
  readonly tail: Pick<Tail, "forget" | "forgetAll" | "has">;
  readonly clock: Clock;
  readonly translator: Translator;
  readonly buttons: Buttons;
  readonly log: Log;
  readonly metrics: GatewayMetrics;
}

interface Running {
  readonly render: Render;
  /** Null for a reply found in the outbox: it is finished, nobody can stop it. */
  readonly open: OpenReply | null;
  readonly ended: Promise<void>;
  /** Cuts off its requests. One for each reply: the library never lets go of a signal. */
  readonly cutOff: AbortController;
}

export class Renders {
  readonly #parts: RendersParts;
  readonly #running = new Map<string, Running>();
  /** Replies given up while their turn went on: their record is delivered to nobody. */
  readonly #abandoned = new Set<string>();
  /** Ended since the scan began: its picture of the outbox is older than that. */
  readonly #endedSinceScan = new Set<string>();
  /**
   * Conversations that are being deleted, and people in one (`<conversation> <user>`): their replies
   * are taken away and leave no note.
   */
  readonly #forgotten = new Set<string>();
  readonly #finished: Finished;
  /** Cut off what is edited of finished replies; as with {@link Running.cutOff}, one for each call. */
  readonly #touching = new Set<AbortController>();
  readonly #closing = new AbortController();
  #scanning: Promise<void> = Promise.resolve();

  constructor(parts: RendersParts) {
    this.#parts = parts;
    this.#finished = new Finished(parts);
  }

  get size(): number {
    return this.#running.size;
  }

  /** Goes on with what the last process was showing, and watches the outbox from now on. */
  async start(): Promise<void> {
    const { log, openReplies, pacer } = this.#parts;
    // Once it is finished, the outbox has what is refused here.
    const refused = (error: EyrieError): void =>
      log.error("open reply refused", errorFields(error));
    pacer.keepPace(await openReplies.takePace());
    for (const reply of await openReplies.all(refused)) {
      const member = outboxMember(reply.conversation, reply.key);
      if (reply.abandoned) this.#abandoned.add(member);
      else this.#run(reply, { open: reply, adopted: true, again: false });
    }
    this.#scanning = this.#scanUntilClosed();
  }

  /**
   * Shows a turn that has just been queued; once more for one that is shown already: nothing. A later
   * attempt takes the place of the one before.
   */
  async open(turn: Turn): Promise<void> {
    const reply = openReplyOf(turn);
    const again = turn.attempt > 0;
    const member = outboxMember(reply.conversation, reply.key);
    if (this.#running.has(member) || this.#abandoned.has(member)) return;
    await this.#parts.openReplies.save(reply);
    if (!again) {
      const { conversation } = turn;
      void this.#touch(async (signal) => this.#finished.strip(conversation, signal));
    }
    this.#run(reply, { open: reply, adopted: false, again });
  }

  /** Shows a turn that truth had forgotten, and with it what was noted of its reply. */
  async reopen(turn: Turn): Promise<void> {
    const reply = openReplyOf(turn);
    const running = this.#running.get(outboxMember(reply.conversation, reply.key));
    if (running === undefined) return this.open(turn);
    await this.#parts.openReplies.save(reply);
    await running.render.noteAgain();
  }

  /** Another truth may have taken over, and it may know less. */
  lookAgain(): void {
    for (const { render } of this.#running.values()) render.lookAgain();
  }

  /** True when nothing of this reply is being shown any more, at the latest after a moment. */
  async settled(conversation: ConversationId, key: TurnKey): Promise<boolean> {
    const member = outboxMember(conversation, key);
    const running = this.#running.get(member);
    if (running !== undefined) await this.#within(settleMsMax, [running.ended]);
    return !this.#running.has(member);
  }

  async #within(ms: number, ends: readonly Promise<void>[]): Promise<void> {
    const done = new AbortController();
    const ended = Promise.all(ends).finally(() => done.abort(over));
    await Promise.race([ended, this.#parts.clock.sleep(ms, done.signal)]);
  }

  /** Marks replies whose turns were taken back, newest first. */
  async retire(conversation: ConversationId, keys: readonly TurnKey[]): Promise<void> {
    for (const key of keys.toReversed()) {
      this.#parts.tail.forget(key.turn);
      await this.settled(conversation, key);
      const texts = (record: ReplyRecord): ReplyTexts =>
        replyTexts({ ...record, key }, this.#parts);
      await this.#touch(async (signal) =>
        this.#finished.retire(conversation, key, { texts, signal }),
      );
    }
  }

  /** Edits of a finished reply, which our own end cuts off. */
  async #touch(edit: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const cutOff = new AbortController();
    this.#touching.add(cutOff);
    await edit(cutOff.signal).finally(() => this.#touching.delete(cutOff));
  }

  /** Takes away what is being shown of a conversation, or of one person in it, about to be deleted. */
  async forget(conversation: ConversationId, author?: UserId): Promise<void> {
    const name = author === undefined ? conversation : `${conversation} ${author}`;
    this.#forgotten.add(name);
    this.#parts.tail.forgetAll(conversation, author);
    const ends: Promise<void>[] = [];
    for (const [member, { open, render, ended }] of this.#running) {
      if (!member.startsWith(`${conversation} `)) continue;
      if (author !== undefined && open?.author !== author) continue;
      render.giveUp();
      ends.push(ended);
    }
    await this.#within(settleMsMax, ends);
    this.#forgotten.delete(name);
  }

  /** An open reply, for those who want to stop it. */
  find(key: TurnKey): OpenReply | null {
    for (const { open } of this.#running.values()) {
      if (open?.key.turn === key.turn && open.key.attempt === key.attempt) return open;
    }
    return null;
  }

  /** The trigger is gone: stop its turn and take its reply away. */
  giveUp(turn: TurnId): void {
    this.#parts.tail.forget(turn);
    for (const { open, render } of this.#running.values()) {
      if (open?.key.turn === turn) render.giveUp();
    }
  }

  /** Leaves every reply as it stands; the next process goes on. */
  async close(): Promise<void> {
    this.#closing.abort(over);
    for (const cutOff of this.#touching) cutOff.abort(over);
    const running = [...this.#running.values()];
    for (const { render } of running) render.close();
    const ended = Promise.all([this.#scanning, ...running.map(async (one) => one.ended)]);
    await Promise.race([ended, this.#parts.clock.sleep(closeMsMax)]);
    for (const { cutOff } of running) cutOff.abort(over);
    // What waits for a rate limit hears of it late, but sends nothing any more.
    await Promise.race([ended, this.#parts.clock.sleep(cutOffMsMax)]);
    await this.#parts.openReplies.leavePace(this.#parts.pacer.pace());
  }

  #run(reply: ReplyAddress, options: RenderStart & { readonly open: OpenReply | null }): void {
    const { clock, log, metrics } = this.#parts;
    const endsMs = clock.monotonicMs() + tokenLivesMs;
    const tokenLives = (): boolean => clock.monotonicMs() < endsMs;
    const cutOff = new AbortController();
    const { signal } = cutOff;
    const carrier = carrierFor(reply, { ...this.#parts, tokenLives, signal });
    if (carrier === null || this.#closing.signal.aborted) return;
    const member = outboxMember(reply.conversation, reply.key);
    const render = new Render(reply, {
      ...this.#parts,
      carrier,
      texts: (key) => replyTexts({ ...reply, key }, this.#parts),
    });
    const ended = this.#follow(reply, { render, ...options })
      .catch((error: unknown) => {
        metrics.requestsFailed.inc();
        log.error("render failed", { turn: reply.key.turn, ...errorFields(error) });
      })
      .finally(() => {
        this.#running.delete(member);
        this.#endedSinceScan.add(member);
      });
    this.#running.set(member, { render, open: options.open, ended, cutOff });
  }

  async #follow(
    reply: ReplyAddress,
    work: RenderStart & { readonly render: Render; readonly open: OpenReply | null },
  ): Promise<void> {
    const end = await work.render.run(work);
    if (end === "closed") return;
    const { log, metrics } = this.#parts;
    if (end === "delivered") {
      await this.#settle(reply);
      const { ended } = work.render;
      if (ended !== null) {
        this.#finished.note(reply.conversation, ended.channelId, ended.messageId);
      }
      metrics.delivered.inc();
      log.debug("reply delivered", { turn: reply.key.turn });
      return;
    }
    metrics.givenUp.inc();
    log.info("reply given up", { turn: reply.key.turn, conversation: reply.conversation });
    const { conversation } = reply;
    const forgotten =
      this.#forgotten.has(conversation) ||
      this.#forgotten.has(`${conversation} ${work.open?.author}`);
    if (work.open === null || forgotten || end === "deleted") await this.#settle(reply);
    else await this.#abandon(work.open);
  }

  /** The turn may still run: remember first, then stop it; its record is settled by the scan. */
  async #abandon(reply: OpenReply): Promise<void> {
    const { openReplies, truth } = this.#parts;
    this.#abandoned.add(outboxMember(reply.conversation, reply.key));
    await openReplies.save({ ...reply, abandoned: true });
    await requestStop(truth, reply.conversation, reply.key);
  }

  async #settle(reply: Pick<ReplyAddress, "conversation" | "key">): Promise<void> {
    const { ledger, openReplies } = this.#parts;
    // Side by side: of a reply that is not open any more the outbox still tells.
    await Promise.all([
      ledger.markDelivered(reply.conversation, reply.key),
      openReplies.remove(reply.conversation, reply.key),
    ]);
    this.#abandoned.delete(outboxMember(reply.conversation, reply.key));
  }

  async #scanUntilClosed(): Promise<void> {
    const { clock, log, pacer } = this.#parts;
    for (let scans = 1; !this.#closing.signal.aborted; scans++) {
      try {
        await this.#scan();
        if (scans % scansPerLook === 0) this.lookAgain();
      } catch (error) {
        log.warn("outbox not readable", errorFields(error));
      }
      pacer.sweep();
      await clock.sleep(outboxScanMs, this.#closing.signal);
    }
  }

  async #scan(): Promise<void> {
    this.#endedSinceScan.clear();
    for (const entry of await this.#parts.ledger.outbox()) {
      if (this.#closing.signal.aborted) return;
      const member = outboxMember(entry.conversation, entry.key);
      const running = this.#running.get(member);
      if (running !== undefined) running.render.finish();
      else if (this.#endedSinceScan.has(member)) continue;
      else if (this.#abandoned.has(member)) await this.#settle(entry);
      else await this.#adopt(entry);
    }
  }

  async #adopt(entry: OutboxEntry): Promise<void> {
    const { ledger, log } = this.#parts;
    const { conversation, key } = entry;
    try {
      const record = await ledger.reply(conversation, key);
      if (record === null || record.origin.kind === "cli") return await this.#settle(entry);
      const { locale, origin } = record;
      this.#run({ conversation, key, locale, origin }, { open: null, adopted: true, again: false });
    } catch (error) {
      if (!(error instanceof EyrieError)) throw error;
      // Where it belongs is unreadable too; the record is kept for whoever looks into it.
      log.error("reply record refused", { turn: key.turn, ...errorFields(error) });
      await this.#settle(entry);
    }
  }
}
