/**
 * One wake, one turn: the ladder of DESIGN §4 from claim to commit, with its exits.
 *
 * claim ─▶ slot ─▶ restore ─▶ prompt + decode (batch) ─▶ commit ─▶ snapshot ─▶ release ─▶ next wake
 *
 * Every exit leaves the turn either committed (perhaps as failed, by a code) or in its mailbox for
 * the next claim. Killed anywhere: the lease runs out, and the next claim starts from the ledger.
 */
import { type Clock, over, within } from "#infra/clock/clock.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import type { StopListener } from "#infra/control/control.ts";
import type { CommitOutcome, Ledger } from "#infra/ledger/ledger.ts";
import { formatLogHead, parseLogHead } from "#infra/ledger/tokenlog.ts";
import type { LivePublisher } from "#infra/live/live.ts";
import type { Claim, ClaimOutcome, Mailbox } from "#infra/mailbox/mailbox.ts";
import { leaseMs } from "#infra/mailbox/mailbox.ts";
import type { Drawn } from "#infra/mailbox/partial.ts";
import { rotIn } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import { type EndReason, promptFor, type ReplyRecord, turnSeed } from "#infra/turn/index.ts";
import type { Wake, WakeBell } from "#infra/wake/wake.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import { type HeldLease, holdLease } from "../lease/lease.ts";
import type { WorkerMetrics } from "../metrics.ts";
import type { Batch } from "./batch.ts";
import { endDamaged } from "./damaged.ts";
import { LiveWriter } from "./live-writer.ts";
import { Quarantine } from "./quarantine.ts";
import { Reply, type ReplyOptions } from "./reply.ts";
import type { Slots, Tenant } from "./slots.ts";
import type { NotRestored, Restored, States } from "./states.ts";
import { listenForStop, type StopOrder } from "./stop-order.ts";

/** A head claimed more often without a commit has killed its workers, in the end alone: it failed. */
const claimsMax = 3;
/** One claimed so often runs alone, as its mates of the last time do: see quarantine.ts. */
const claimsOfSuspect = claimsMax - 1;
/** A reply still running after this ends with what it has. */
const deadlineMs = 5 * 60_000;
/** How long a worker that leaves hands states over; after that, what was drawn alone. */
const statesMsMax = 2_000;
/** How long to wait for the lease of a worker that may be dead. */
const leasedWaitMsMax = 2 * leaseMs;

export interface AnswerParts {
  readonly worker: string;
  readonly numericClass: string;
  /** Of the model. */
  readonly fingerprint: string;
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

/** What became of a claim. */
type Verdict =
  | CommitOutcome
  /** An error that nobody expected: the lease runs out, and the claim counts. */
  | { readonly kind: "crashed" }
  /** The worker leaves: this is what its reply had drawn. */
  | { readonly kind: "handed-over"; readonly drawn: readonly number[] }
  /** The state Redis does not answer, and the log alone does not reach back. */
  | { readonly kind: "state-away" };

export class Answerer {
  readonly #parts: AnswerParts;
  /** Aborted when the process must leave: turns not finished go on elsewhere, from where they are. */
  readonly #leaving = new AbortController();
  #leavingSinceMs = 0;
  readonly #quarantine = new Quarantine();

  constructor(parts: AnswerParts) {
    this.#parts = parts;
  }

  /** Hands every running turn over; their `answer` calls return soon after. */
  leave(): void {
    this.#leavingSinceMs = this.#parts.clock.monotonicMs();
    this.#leaving.abort();
  }

  async answer(wake: Wake): Promise<void> {
    const claimed = await this.#claim(wake);
    if (claimed === null) return;
    const { claim, leave } = claimed;
    const held = holdLease(this.#parts.mailbox, claim, this.#parts.clock);
    let verdict: Verdict = { kind: "crashed" };
    try {
      verdict = await this.#turn(held);
    } finally {
      held.letGo();
      leave();
      await this.#giveBack(claim, verdict);
    }
  }

  /** `leave` is to be called when the turn no longer runs. */
  async #claim(wake: Wake): Promise<{ readonly claim: Claim; readonly leave: () => void } | null> {
    const { bell, clock, mailbox, metrics, worker } = this.#parts;
    const { conversation } = wake;
    const startedMs = clock.monotonicMs();
    let alone = false;
    for (;;) {
      const leave = await this.#quarantine.enter({ alone });
      if (this.#leaving.signal.aborted) {
        leave();
        await bell.ring(wake);
        return null;
      }
      const outcome: ClaimOutcome = await mailbox
        .claim(conversation, worker, alone ? null : claimsOfSuspect)
        .catch((error: unknown) => {
          leave();
          throw error;
        });
      alone = outcome.kind === "suspect";
      if (outcome.kind === "claimed") {
        const { claims, head } = outcome.claim;
        const waitedMs = Math.max(0, clock.nowMs() - head.receivedAtMs);
        if (claims === 1) metrics.claimSeconds.observe(waitedMs / 1000);
        return { claim: outcome.claim, leave };
      }
      if (outcome.kind === "damaged") {
        await endDamaged(this.#parts, wake, outcome).finally(leave);
        return null;
      }
      leave();
      if (outcome.kind === "empty") return null;
      if (outcome.kind === "suspect") continue;
      // Renewed by somebody alive: that worker rings again if mail is left when it is done.
      if (clock.monotonicMs() - startedMs > leasedWaitMsMax) return null;
      await clock.sleep(Math.min(outcome.msLeft + 5, 250));
    }
  }

  async #giveBack(claim: Claim, verdict: Verdict): Promise<void> {
    const { fingerprint, log, mailbox } = this.#parts;
    switch (verdict.kind) {
      case "crashed":
        return;
      case "lease-lost":
        log.warn("lease lost", { conversation: claim.conversation, turn: claim.head.id });
        // Not waited for: the Redis that did not renew it may not answer this either.
        this.#ringFor(claim, mailbox.release(claim, { forgive: true })).catch(() => undefined);
        return;
      case "handed-over": {
        const drawn = { fingerprint, tokens: verdict.drawn };
        return this.#ringFor(claim, mailbox.handOver(claim, drawn));
      }
      case "log-moved":
      case "state-away":
        return this.#ringFor(claim, mailbox.release(claim, { forgive: true }));
      case "committed":
      case "already-committed":
        return this.#ringFor(claim, mailbox.release(claim, { forgive: false }));
    }
  }

  async #ringFor({ conversation, head }: Claim, mailLeft: Promise<number | null>): Promise<void> {
    const left = await mailLeft;
    if (left === null || left === 0) return;
    const { id, model } = head;
    await this.#parts.bell.ring({ conversation, headTurnId: "", model, traceId: id });
  }

  async #turn(held: HeldLease<Claim>): Promise<Verdict> {
    const { claim } = held;
    const { metrics, tokenizer, slots, messageTokensMax } = this.#parts;
    if (claim.claims > claimsMax) return this.#commit(claim, failed("TURN_FAILED"));
    const prompt = tokenizer.encode(promptFor(claim.head.text));
    if (prompt.length > messageTokensMax) {
      return this.#commit(claim, failed("MESSAGE_TOO_LONG", prompt.length));
    }
    const { conversation, head, logHead, source } = claim;
    const room = slots.take(conversation, source === null ? null : { source, logHead });
    // Asked for before anything is waited for: the next turn of the source may change that slot.
    const inherited = this.#parts.states.inherit(room, claim);
    const stop = listenForStop(this.#parts, conversation, { turn: head.id, attempt: head.attempt });
    let tenant: Tenant | null = null;
    try {
      // The engine does this first, in whatever order the two are waited for.
      const parked =
        room.evicted === null ? null : this.#parts.states.park(room.slot, room.evicted);
      parked?.catch(() => undefined);
      const before = this.#drawnBefore(claim);
      const takenUp = await this.#takeUp(claim, room.slot, { prompt, drawn: before });
      const restored: Restored | NotRestored = takenUp
        ? { replay: [], snapshotHead: null }
        : await this.#parts.states.restore(claim, room, inherited);
      await parked;
      if ("kind" in restored) return restored;
      // On a state that is lost nobody goes on with another worker's reply, nor another with this one:
      // each is of one state.
      const alone = restored.lost === true;
      const drawn = alone ? [] : before;
      const { replay } = restored;
      const reply = this.#replyTo(claim, { prompt, replay, drawn, takenUp });
      const work = { slot: room.slot, reply, prompt, alone, stop };
      const { outcome, writer } = await this.#run(held, work);
      if (held.lost.aborted) return { kind: "lease-lost" };
      if (outcome === null) {
        if (!alone) await this.#handOver(claim, room.slot, reply);
        return { kind: "handed-over", drawn: alone ? [] : reply.drawn };
      }
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
      return verdict;
    } catch (error) {
      metrics.failures.inc();
      this.#parts.log.error("turn interrupted", {
        conversation: claim.conversation,
        turn: claim.head.id,
        ...errorFields(error),
      });
      if ((await rotIn(error, this.#parts.truth)) !== null) {
        return await this.#commit(claim, failed("RECORD_CORRUPT"));
      }
      throw error;
    } finally {
      stop.ignore();
      slots.leave(room.slot, tenant);
    }
  }

  #replyTo(
    { head }: Claim,
    work: Pick<ReplyOptions, "prompt" | "drawn" | "takenUp"> &
      Partial<Pick<ReplyOptions, "replay">>,
  ): Reply {
    const { tokenizer } = this.#parts;
    const seed = turnSeed({ turn: head.id, attempt: head.attempt });
    const { maxTokens, sampling } = head;
    return new Reply({ tokenizer, seed, sampling, maxTokens, replay: [], ...work });
  }

  /** Fills the slot with the state that the worker before has left of this reply. */
  async #takeUp(
    claim: Claim,
    slot: number,
    begun: Required<Pick<ReplyOptions, "prompt" | "drawn">>,
  ): Promise<boolean> {
    if (begun.drawn.length === 0) return false;
    const { log, states } = this.#parts;
    const { ahead } = this.#replyTo(claim, begun);
    if (!(await states.takeUp(slot, claim, ahead))) return false;
    log.debug("state taken up", { conversation: claim.conversation, tokens: ahead.length });
    return true;
  }

  /** Leaves the state of a reply to whoever goes on with it, where feeding it again would take longer. */
  async #handOver(claim: Claim, slot: number, { standsBehind }: Reply): Promise<void> {
    const { batch, clock, states } = this.#parts;
    const leftMs = statesMsMax - (clock.monotonicMs() - this.#leavingSinceMs);
    if (standsBehind === null || leftMs <= 0) return;
    if (batch.replayMs(standsBehind.length) < states.handOverMs) return;
    await within(clock, leftMs, states.handOver(slot, claim, standsBehind));
    this.#parts.log.debug("state handed over", { conversation: claim.conversation });
  }

  /** Feeds and draws until the reply ends; a null outcome means that it was cut short. */
  async #run(
    held: HeldLease<Claim>,
    work: {
      readonly slot: number;
      readonly reply: Reply;
      readonly prompt: readonly number[];
      readonly alone: boolean;
      readonly stop: StopOrder;
    },
  ): Promise<{ readonly outcome: Outcome | null; readonly writer: LiveWriter }> {
    const { head, conversation, fence } = held.claim;
    const { batch, clock, live, metrics } = this.#parts;
    const startedMs = clock.monotonicMs();
    const key = { turn: head.id, attempt: head.attempt };
    const { reply } = work;
    const { mine } = held;
    held.keep(newOf(work.alone ? [] : reply.drawn, this.#parts.fingerprint));
    const replies = (): number => batch.running;
    const writer = new LiveWriter(live, conversation, { key, fence, reply, clock, mine, replies });
    const stop = (): void => reply.stop("stopped");
    const { given, looked } = work.stop;
    await looked;
    if (given.aborted) stop();
    else given.addEventListener("abort", stop, { once: true });
    const ended = new AbortController();
    void clock.sleep(deadlineMs, ended.signal).then(() => {
      if (!ended.signal.aborted) reply.stop("deadline");
    });
    const running = batch.run(work.slot, reply, () => {
      if (reply.replyTokens === 1) {
        metrics.timeToFirstToken.observe((clock.monotonicMs() - startedMs) / 1000);
      }
      // Whether the lease is still ours is asked before each frame.
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
      const outcome = { end: reply.end ?? "stop", code: null, text, logTokens, ...counts };
      return { outcome, writer };
    } finally {
      ended.abort(over);
      leave.removeEventListener("abort", running.cancel);
      writer.close({ done: false });
      given.removeEventListener("abort", stop);
    }
  }

  #drawnBefore(claim: Claim): readonly number[] {
    const { fingerprint, log, mailbox } = this.#parts;
    return mailbox.drawnBefore(claim, fingerprint, (error) => {
      const turn = { conversation: claim.conversation, turn: claim.head.id };
      log.error("partial reply refused", { ...turn, ...errorFields(error) });
    });
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

/** What was drawn, each time that it has grown. */
function newOf(tokens: readonly number[], fingerprint: string): () => Drawn | null {
  let known = tokens.length;
  return () => {
    if (tokens.length === known) return null;
    known = tokens.length;
    return { fingerprint, tokens };
  };
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
