/**
 * One wake, one turn: the ladder of DESIGN §4 from claim to commit, with its exits.
 *
 * claim ─▶ slot ─▶ restore ─▶ prompt + decode (batch) ─▶ commit ─▶ snapshot ─▶ release ─▶ next wake
 *
 * Every exit leaves the turn either committed (perhaps as failed, by a code) or in its mailbox for
 * the next claim. Killed anywhere: the lease runs out, and the next claim starts from the ledger.
 */
import type { Clock } from "#infra/clock/clock.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import { isStopRequested, type StopListener } from "#infra/control/control.ts";
import type { CommitOutcome, Ledger } from "#infra/ledger/ledger.ts";
import { formatLogHead, parseLogHead } from "#infra/ledger/tokenlog.ts";
import type { LivePublisher } from "#infra/live/live.ts";
import type { Claim, Mailbox } from "#infra/mailbox/mailbox.ts";
import { leaseMs } from "#infra/mailbox/mailbox.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import {
  type ConversationId,
  type EndReason,
  promptFor,
  type ReplyRecord,
  turnSeed,
} from "#infra/turn/index.ts";
import type { Wake, WakeBell } from "#infra/wake/wake.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { type HeldLease, holdLease } from "../lease/lease.ts";
import type { WorkerMetrics } from "../metrics.ts";
import type { Batch } from "./batch.ts";
import { LiveWriter } from "./live-writer.ts";
import { Quarantine } from "./quarantine.ts";
import { Reply } from "./reply.ts";
import type { Slots, Tenant } from "./slots.ts";
import type { Restored, States } from "./states.ts";

/** A head claimed more often without a commit has killed its workers, in the end alone: it failed. */
const claimsMax = 3;
/** One claimed so often runs alone, as its mates of the last time do: see quarantine.ts. */
const claimsOfSuspect = claimsMax - 1;
/** A reply still running after this ends with what it has. */
const deadlineMs = 5 * 60_000;
/** How long to wait for the lease of a worker that may be dead. */
const leasedWaitMsMax = 2 * leaseMs;

export interface AnswerParts {
  readonly worker: string;
  readonly numericClass: string;
  readonly messageTokensMax: number;
  readonly truth: ScriptedRedis;
  readonly mailbox: Mailbox;
  readonly ledger: Ledger;
  readonly live: LivePublisher;
  readonly stops: StopListener;
  readonly bell: Pick<WakeBell, "ring">;
  readonly tokenizer: Tokenizer;
  readonly batch: Batch;
  readonly slots: Slots;
  readonly states: States;
  readonly clock: Clock;
  readonly metrics: WorkerMetrics;
  readonly log: Log;
}

/** What a turn came to, before it is committed. */
interface Outcome {
  readonly end: EndReason;
  readonly code: ErrorCode | null;
  readonly text: string;
  readonly logTokens: readonly number[];
  readonly promptTokens: number;
  readonly replyTokens: number;
  readonly replayedTokens: number;
  readonly computeMs: number;
}

export class Answerer {
  readonly #parts: AnswerParts;
  /** Aborted when the process must leave: turns not finished go back to their mailboxes. */
  readonly #leaving = new AbortController();
  readonly #quarantine = new Quarantine();

  constructor(parts: AnswerParts) {
    this.#parts = parts;
  }

  /** Hands every running turn back; their `answer` calls return soon after. */
  leave(): void {
    this.#leaving.abort();
  }

  async answer(wake: Wake): Promise<void> {
    const claimed = await this.#claim(wake.conversation);
    if (claimed === null) return;
    const { claim, leave } = claimed;
    const held = holdLease(this.#parts.mailbox, claim, this.#parts.clock);
    const give = { back: false, forgive: false };
    try {
      const verdict = await this.#turn(held);
      give.back = verdict !== "lease-lost";
      give.forgive = verdict === "handed-back" || verdict === "log-moved";
    } finally {
      held.letGo();
      leave();
      if (give.back) await this.#release(claim, give.forgive);
    }
  }

  /** `leave` is to be called when the turn no longer runs. */
  async #claim(
    conversation: ConversationId,
  ): Promise<{ readonly claim: Claim; readonly leave: () => void } | null> {
    const { clock, mailbox, metrics, worker } = this.#parts;
    const startedMs = clock.monotonicMs();
    for (;;) {
      const alone = (await mailbox.claimsOfHead(conversation)) >= claimsOfSuspect;
      const leave = await this.#quarantine.enter({ alone });
      const outcome = await mailbox.claim(conversation, worker).catch((error: unknown) => {
        leave();
        throw error;
      });
      if (outcome.kind === "claimed") {
        const { claims, head } = outcome.claim;
        const waitedMs = Math.max(0, clock.nowMs() - head.receivedAtMs);
        if (claims === 1) metrics.claimSeconds.observe(waitedMs / 1000);
        return { claim: outcome.claim, leave };
      }
      leave();
      if (outcome.kind === "empty") return null;
      // Renewed by somebody alive: that worker rings again if mail is left when it is done.
      if (clock.monotonicMs() - startedMs > leasedWaitMsMax) return null;
      await clock.sleep(Math.min(outcome.msLeft + 5, 250));
    }
  }

  async #release(claim: Claim, forgive: boolean): Promise<void> {
    const { mailbox, bell } = this.#parts;
    const left = await mailbox.release(claim, { forgive });
    if (left === null || left === 0) return;
    const { conversation, head } = claim;
    await bell.ring({ conversation, headTurnId: "", model: head.model, traceId: head.id });
  }

  async #turn(held: HeldLease<Claim>): Promise<CommitOutcome["kind"] | "handed-back"> {
    const { claim } = held;
    const { metrics, tokenizer, slots, messageTokensMax } = this.#parts;
    if (claim.claims > claimsMax) return (await this.#commit(claim, failed("TURN_FAILED"))).kind;
    const prompt = tokenizer.encode(promptFor(claim.head.text));
    if (prompt.length > messageTokensMax) {
      return (await this.#commit(claim, failed("MESSAGE_TOO_LONG", prompt.length))).kind;
    }
    const { conversation, logHead, source } = claim;
    const room = slots.take(conversation, source === null ? null : { source, logHead });
    // Asked for before anything is waited for: the next turn of the source may change that slot.
    const inherited = this.#parts.states.inherit(room, claim);
    let tenant: Tenant | null = null;
    try {
      if (room.evicted !== null) await this.#parts.states.park(room.slot, room.evicted);
      const restored = await this.#parts.states.restore(claim, room, inherited);
      if (restored === null) return "log-moved";
      const { outcome, writer } = await this.#run(held, {
        slot: room.slot,
        prompt,
        replay: restored.replay,
      });
      if (held.lost.aborted) return "lease-lost";
      if (outcome === null) return "handed-back";
      const verdict = await this.#commit(claim, outcome);
      const ended = verdict.kind === "committed" || verdict.kind === "already-committed";
      writer.close({ done: ended });
      // A reply that kept nothing (stopped before its first word) or failed leaves a slot that is
      // ahead of the log.
      if (verdict.kind === "committed" && outcome.logTokens.length > 0) {
        tenant = await this.#keep(claim, room.slot, {
          conversation: claim.conversation,
          logHead: formatLogHead(verdict.logHead),
          snapshotHead: restored.snapshotHead,
        });
      }
      return verdict.kind;
    } catch (error) {
      metrics.failures.inc();
      this.#parts.log.error("turn interrupted", {
        conversation: claim.conversation,
        turn: claim.head.id,
        ...errorFields(error),
      });
      if (error instanceof EyrieError && error.code === "RECORD_CORRUPT") {
        return (await this.#commit(claim, failed("RECORD_CORRUPT"))).kind;
      }
      throw error;
    } finally {
      slots.leave(room.slot, tenant);
    }
  }

  /** Feeds and draws until the reply ends; a null outcome means that the turn was handed back. */
  async #run(
    held: HeldLease<Claim>,
    work: {
      readonly slot: number;
      readonly prompt: readonly number[];
      readonly replay: Restored["replay"];
    },
  ): Promise<{ outcome: Outcome | null; writer: LiveWriter }> {
    const { head, conversation, fence } = held.claim;
    const { batch, clock, stops, truth, live, metrics } = this.#parts;
    const startedMs = clock.monotonicMs();
    const key = { turn: head.id, attempt: head.attempt };
    const reply = new Reply({
      tokenizer: this.#parts.tokenizer,
      replay: work.replay,
      prompt: work.prompt,
      seed: turnSeed(key),
      sampling: head.sampling,
      maxTokens: head.maxTokens,
    });
    const writer = new LiveWriter(live, conversation, { key, fence, reply, clock });
    const unlisten = await stops.listen(conversation, head.id, () => reply.stop("stopped"));
    if (await isStopRequested(truth, conversation, head.id)) reply.stop("stopped");
    const ended = new AbortController();
    void clock.sleep(deadlineMs, ended.signal).then(() => {
      if (!ended.signal.aborted) reply.stop("deadline");
    });
    const running = batch.run(work.slot, reply, () => {
      if (reply.replyTokens === 1) {
        metrics.timeToFirstToken.observe((clock.monotonicMs() - startedMs) / 1000);
      }
      writer.progress();
    });
    const leave = AbortSignal.any([held.lost, this.#leaving.signal]);
    leave.addEventListener("abort", running.cancel, { once: true });
    if (leave.aborted) running.cancel();
    try {
      const { end, computeMs } = await running.outcome;
      if (end === "cancelled") return { outcome: null, writer };
      const counts = {
        promptTokens: work.prompt.length,
        replyTokens: reply.replyTokens,
        replayedTokens: reply.replayedTokens,
        computeMs,
      };
      if (end === "not-finite") {
        return { outcome: { ...failed("TURN_NOT_FINITE"), ...counts }, writer };
      }
      const { text, logTokens } = reply;
      return {
        outcome: { end: reply.end ?? "stop", code: null, text, logTokens, ...counts },
        writer,
      };
    } finally {
      ended.abort();
      leave.removeEventListener("abort", running.cancel);
      writer.close({ done: false });
      // Not waited for: what comes late is for nobody.
      unlisten().catch(() => undefined);
    }
  }

  async #commit(claim: Claim, outcome: Outcome): Promise<CommitOutcome> {
    const { clock, ledger, metrics, log, numericClass } = this.#parts;
    const { head } = claim;
    const { logTokens, ...said } = outcome;
    const record: ReplyRecord = {
      ...said,
      turn: head.id,
      attempt: head.attempt,
      conversation: claim.conversation,
      author: head.author,
      seq: claim.seq,
      status: outcome.code === null ? "committed" : "failed",
      fence: claim.fence,
      model: head.model,
      numericClass,
      locale: head.locale,
      origin: head.origin,
      committedAtMs: clock.nowMs(),
    };
    const startedMs = clock.monotonicMs();
    const committed = await ledger.commit(claim, record, {
      startedFrom: parseLogHead(claim.logHead),
      tokens: logTokens,
    });
    metrics.commitSeconds.observe((clock.monotonicMs() - startedMs) / 1000);
    if (committed.kind === "committed") {
      metrics.turns.inc({ end: outcome.end });
      log.debug("turn committed", {
        conversation: claim.conversation,
        turn: head.id,
        end: outcome.end,
        promptTokens: outcome.promptTokens,
        replyTokens: outcome.replyTokens,
        replayedTokens: outcome.replayedTokens,
      });
    } else {
      log.warn("commit refused", {
        conversation: claim.conversation,
        turn: head.id,
        refusal: committed.kind,
      });
    }
    return committed;
  }

  /** After a commit: saves what the slot holds once enough was fed since the last snapshot. */
  async #keep(claim: Claim, slot: number, tenant: Tenant): Promise<Tenant> {
    const { states, batch } = this.#parts;
    const logHead = parseLogHead(tenant.logHead);
    const savedAt = tenant.snapshotHead === null ? 0 : parseLogHead(tenant.snapshotHead).tokens;
    if (logHead.tokens - savedAt < batch.snapshotTokens) return tenant;
    return states.save(slot, tenant, claim);
  }
}

function failed(code: ErrorCode, promptTokens = 0): Outcome {
  return {
    end: "failed",
    code,
    text: "",
    logTokens: [],
    promptTokens,
    replyTokens: 0,
    replayedTokens: 0,
    computeMs: 0,
  };
}
