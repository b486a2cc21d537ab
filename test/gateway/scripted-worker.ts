/**
 * Plays the worker's part through the infra rooms: claims a conversation's head, publishes live
 * frames, commits. What the model would say is what the test says.
 */
import { isStopRequested } from "#infra/control/control.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { parseLogHead } from "#infra/ledger/tokenlog.ts";
import { LivePublisher } from "#infra/live/live.ts";
import { type Claim, Mailbox } from "#infra/mailbox/mailbox.ts";
import { liveChannel } from "#infra/redis/keys.ts";
import { plainRecords, type Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import {
  type ConversationId,
  type EndReason,
  type ReplyRecord,
  turnSeed,
} from "#infra/turn/index.ts";

const waitMs = 5_000;

export class ScriptedWorker {
  readonly ledger: Ledger;
  readonly mailbox: Mailbox;
  readonly #truth: ScriptedRedis;
  readonly #live: LivePublisher;

  constructor(truth: ScriptedRedis, state: ScriptedRedis, records: Records = plainRecords) {
    this.#truth = truth;
    this.#live = new LivePublisher(state, records);
    this.ledger = new Ledger(truth, records);
    this.mailbox = new Mailbox(truth, records);
  }

  /** The head of the conversation's mailbox, as soon as there is one. */
  async claim(conversation: ConversationId): Promise<Claim> {
    for (const endMs = performance.now() + waitMs; performance.now() < endMs;) {
      const outcome = await this.mailbox.claim(conversation, "scripted");
      if (outcome.kind === "claimed") return outcome.claim;
      await new Promise((done) => setTimeout(done, 10));
    }
    throw new Error(`nothing to claim in ${conversation}`);
  }

  /** One live frame holding the whole text so far, once somebody listens. */
  async say(claim: Claim, text: string): Promise<void> {
    await this.#untilHeard(claim.conversation);
    await this.mailbox.renew(claim);
    const { id: turn, attempt } = claim.head;
    const frame = { turn, attempt, fence: claim.fence, at: 0, text, tokens: text.length };
    await this.#live.publish(claim.conversation, { kind: "text", ...frame });
  }

  async #untilHeard(conversation: ConversationId): Promise<void> {
    const channel = liveChannel(conversation);
    for (const endMs = performance.now() + waitMs; performance.now() < endMs;) {
      const [, listeners] = (await this.#truth.pubsub("NUMSUB", channel)) as [string, number];
      if (listeners > 0) return;
      await new Promise((done) => setTimeout(done, 5));
    }
    throw new Error(`nobody listens to ${conversation}`);
  }

  async stopped(claim: Claim): Promise<boolean> {
    return isStopRequested(this.#truth, claim.conversation, {
      turn: claim.head.id,
      attempt: claim.head.attempt,
    });
  }

  /** Commits and gives the conversation back; `quietly` keeps the done frame to itself. */
  async commit(
    claim: Claim,
    text: string,
    options: { end?: EndReason; code?: string; quietly?: boolean } = {},
  ): Promise<ReplyRecord> {
    const { head } = claim;
    const failed = options.code !== undefined;
    const record: ReplyRecord = {
      turn: head.id,
      attempt: head.attempt,
      conversation: claim.conversation,
      author: head.author,
      seq: claim.seq,
      status: failed ? "failed" : "committed",
      end: failed ? "failed" : (options.end ?? "stop"),
      text,
      code: options.code ?? null,
      promptTokens: 3,
      replyTokens: 4,
      replayedTokens: 0,
      fence: claim.fence,
      model: head.model,
      numericClass: turnSeed({ turn: head.id, attempt: head.attempt }),
      locale: head.locale,
      origin: head.origin,
      committedAtMs: Date.now(),
      computeMs: 1,
    };
    const startedFrom = parseLogHead(claim.logHead);
    const tokens = failed ? [] : [1, 2, 3];
    const outcome = await this.ledger.commit(claim, record, { startedFrom, tokens });
    if (outcome.kind !== "committed") throw new Error(`not committed: ${outcome.kind}`);
    await this.mailbox.release(claim, { forgive: false });
    if (options.quietly !== true) {
      const { id: turn, attempt } = head;
      await this.#live.publish(claim.conversation, { kind: "done", turn, attempt });
    }
    return record;
  }
}
