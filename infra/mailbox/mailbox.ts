/**
 * The FIFO of turns waiting in one conversation, and the right to work on its head.
 *
 * Promises: a turn id enters a conversation once, however often its event is delivered; turns are
 * numbered without gaps; at most one lease is valid at a time, and a later one has a larger fence.
 * A crash after `append` and before the wake is repaired by the sweeper.
 */
import { randomBytes } from "node:crypto";
import { EyrieError } from "#infra/errors/error.ts";
import { refusesWrites } from "#infra/redis/client.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { mailboxPlace, partialPlace } from "#infra/redis/places.ts";
import { plainRecords, type Records, rotIn } from "#infra/redis/records.ts";
import { refusal, type ScriptedRedis } from "#infra/redis/scripts.ts";
import { type DamagedHead, remainsOf } from "./damaged.ts";
import { type Drawn, type PartialReply, tokensOfPartial } from "./partial.ts";
import { type ConversationId, conversationId, type Turn } from "#infra/turn/index.ts";

/** Turns waiting in one conversation; the newest is refused beyond it. */
export const mailboxLengthMax = 16;
/** How long a turn id is remembered, far beyond any redelivery by Discord. */
export const knownSeconds = 72 * 3600;
/** A lease that is not renewed ends after this; renewal runs at a third of it. */
export const leaseMs = 3_000;

export type Appended =
  | { readonly kind: "appended"; readonly seq: number; readonly waiting: number }
  | { readonly kind: "known" }
  | { readonly kind: "full" }
  /** Redis takes no writes now (memory or disk is full, its replicas are gone): nothing was changed. */
  | { readonly kind: "refused"; readonly reason: string };

/** The right to work on a conversation. */
export interface Hold {
  readonly conversation: ConversationId;
  /** `<fence>:<random>`; what every later write proves itself with. */
  readonly lease: string;
  /** `<tokens>:<crc>` where the kept part of the token log begins. */
  readonly logStart: string;
}

/** The right to answer a conversation's head, as given by {@link Mailbox.claim}. */
export interface Claim extends Hold {
  readonly fence: number;
  readonly head: Turn;
  readonly seq: number;
  /** `<epoch>:<tokens>:<crc>` of the token log. */
  readonly logHead: string;
  /** Times this head has been claimed without being committed, this claim included. */
  readonly claims: number;
  /** Worker that held the conversation before; '' if none. */
  readonly previousWorker: string;
  /** The conversation that this one was forked from: where the states of both are the same. */
  readonly source: ConversationId | null;
  /** Record of what an earlier worker had drawn of the reply, see `partial.ts`; '' if none. */
  readonly partial: string;
}

export type ClaimOutcome =
  | { readonly kind: "claimed"; readonly claim: Claim }
  /** The head has rotted, as `error` says: end it, see `Ledger.endDamaged`. */
  | { readonly kind: "damaged"; readonly head: DamagedHead; readonly error: EyrieError }
  | { readonly kind: "leased"; readonly msLeft: number }
  /** Its head was claimed too often for the asker; nothing was changed. */
  | { readonly kind: "suspect" }
  | { readonly kind: "empty" };

export class Mailbox {
  readonly #truth: ScriptedRedis;
  readonly #records: Records;

  constructor(truth: ScriptedRedis, records: Records = plainRecords) {
    this.#truth = truth;
    this.#records = records;
  }

  async append(turn: Turn): Promise<Appended> {
    try {
      return await this.#append(turn);
    } catch (error) {
      const reason = refusesWrites(error);
      if (reason === null) throw error;
      // A turn that is in already must not be told that it was refused.
      const known = conversationKeys(turn.conversation).known(turn.id);
      return (await this.#truth.exists(known)) === 1
        ? { kind: "known" }
        : { kind: "refused", reason };
    }
  }

  async #append(turn: Turn): Promise<Appended> {
    const keys = conversationKeys(turn.conversation);
    const [seq, waiting] = await this.#truth.appendTurn(
      keys.mailbox,
      keys.meta,
      keys.known(turn.id),
      keys.dirty,
      keys.active,
      turn.id,
      turn.attempt,
      this.#records.encode(turn, mailboxPlace(turn.conversation)),
      turn.conversation,
      turn.model,
      mailboxLengthMax,
      knownSeconds,
      turn.community ?? "",
    );
    if (seq === refusal.mailboxFull) return { kind: "full" };
    return seq === 0 ? { kind: "known" } : { kind: "appended", seq, waiting };
  }

  /** `claimsMax`: a head that was claimed as often without being committed is left alone. */
  async claim(
    conversation: ConversationId,
    worker: string,
    claimsMax: number | null = null,
  ): Promise<ClaimOutcome> {
    const keys = conversationKeys(conversation);
    const random = randomBytes(16).toString("hex");
    const reply = await this.#truth.claimConversation(
      keys.lease,
      keys.meta,
      keys.mailbox,
      keys.partial,
      random,
      leaseMs,
      worker,
      claimsMax ?? "",
    );
    if (reply.length === 1) {
      return { kind: reply[0] === refusal.claimedTooOften ? "suspect" : "empty" };
    }
    if (reply.length === 2) return { kind: "leased", msLeft: reply[1] };
    const [fence, entry, logHead, logStart, claims, previousWorker, source, partial] = reply;
    const lease = `${fence}:${random}`;
    let head: Entry;
    try {
      head = parseEntry(entry, conversation, this.#records);
    } catch (error) {
      const rot = await rotIn(error, this.#truth);
      if (rot === null) throw error;
      return this.#damaged({ conversation, lease, logStart }, fence, rot);
    }
    const { seq, turn } = head;
    return {
      kind: "claimed",
      claim: {
        conversation,
        lease,
        fence,
        head: turn,
        seq,
        logHead,
        logStart,
        claims,
        previousWorker,
        source: source === "" ? null : conversationId(source),
        partial,
      },
    };
  }

  /** Read again, in bytes: what has rotted may be no text. */
  async #damaged(hold: Hold, fence: number, error: EyrieError): Promise<ClaimOutcome> {
    const { conversation } = hold;
    const entry = await this.#truth.lindexBuffer(conversationKeys(conversation).mailbox, 0);
    if (entry === null) return { kind: "empty" };
    const remains = remainsOf(entry.toString(), conversation, this.#records);
    return { kind: "damaged", head: { ...hold, ...remains, fence, entry }, error };
  }

  /** The lease of a conversation that stands at `logHead`, without its head; null when refused. */
  async hold(conversation: ConversationId, logHead: string): Promise<Hold | null> {
    const keys = conversationKeys(conversation);
    const random = randomBytes(16).toString("hex");
    const reply = await this.#truth.holdConversation(
      keys.lease,
      keys.meta,
      random,
      leaseMs,
      logHead,
    );
    if (reply.length === 1) return null;
    const [fence, logStart] = reply;
    return { conversation, lease: `${fence}:${random}`, logStart };
  }

  /**
   * False when the lease is no longer ours: stop working on the conversation at once. Keeps what the
   * head's reply had drawn by now, for whoever goes on after a crash.
   */
  async renew(claim: Hold | Claim, drawn: Drawn | null = null): Promise<boolean> {
    const keys = conversationKeys(claim.conversation);
    const partial = drawn === null || !("head" in claim) ? null : partialOf(claim, drawn);
    const renewed = await this.#truth.renewLease(
      keys.lease,
      keys.mailbox,
      keys.meta,
      keys.partial,
      claim.lease,
      leaseMs,
      partial?.turn ?? "",
      partial?.attempt ?? "",
      partial?.logHead ?? "",
      partial === null ? "" : this.#records.encode(partial, partialPlace(claim.conversation)),
      knownSeconds,
    );
    return renewed === 1;
  }

  /**
   * Gives the conversation back. `forgive` when the head was not at fault (drain, reset, a lease that ran
   * out under a worker that lives), so that it is not taken for a turn that crashes workers. Returns the
   * mail left, or null if not ours.
   */
  async release(claim: Hold | Claim, options: { forgive: boolean }): Promise<number | null> {
    const keys = conversationKeys(claim.conversation);
    const forgiven = options.forgive && "head" in claim ? claim.head : null;
    const left = await this.#truth.releaseLease(
      keys.lease,
      keys.mailbox,
      keys.meta,
      claim.lease,
      forgiven === null ? "" : `${forgiven.id} ${forgiven.attempt}`,
    );
    return left === refusal.leaseLost ? null : left;
  }

  /**
   * Gives the head back unfinished, with what its reply had drawn under this model. Returns the mail
   * left, or null if not ours; what cannot be kept any more (the log moved) is simply given back.
   */
  async handOver(claim: Claim, drawn: Drawn): Promise<number | null> {
    const keys = conversationKeys(claim.conversation);
    const partial = partialOf(claim, drawn);
    const result = await this.#truth.handOver(
      keys.lease,
      keys.mailbox,
      keys.meta,
      keys.partial,
      claim.lease,
      partial.turn,
      partial.attempt,
      partial.logHead,
      this.#records.encode(partial, partialPlace(claim.conversation)),
      knownSeconds,
    );
    if (result >= 0) return result;
    return result === refusal.leaseLost ? null : this.release(claim, { forgive: true });
  }

  /** What a worker before this one had drawn of the head's reply under this model. */
  drawnBefore(
    { conversation, head, logHead, partial }: Claim,
    fingerprint: string,
    damaged: (error: EyrieError) => void,
  ): readonly number[] {
    const wanted = { conversation, turn: head.id, attempt: head.attempt, logHead, fingerprint };
    return tokensOfPartial(partial, wanted, { records: this.#records, damaged });
  }

  /** Turns waiting, oldest first. */
  async waiting(conversation: ConversationId): Promise<Turn[]> {
    return (await this.entries(conversation)).map(({ turn }) => turn);
  }

  /** The same, each with what Redis holds of it. */
  async entries(
    conversation: ConversationId,
  ): Promise<{ readonly entry: string; readonly turn: Turn }[]> {
    const entries = await this.#truth.lrange(conversationKeys(conversation).mailbox, 0, -1);
    return entries.map((entry) => ({
      entry,
      turn: parseEntry(entry, conversation, this.#records).turn,
    }));
  }
}

function partialOf({ head, logHead }: Claim, drawn: Drawn): PartialReply {
  return { turn: head.id, attempt: head.attempt, logHead, ...drawn };
}

interface Entry {
  readonly seq: number;
  readonly turn: Turn;
}

function parseEntry(entry: string, conversation: ConversationId, records: Records): Entry {
  const match = /^(\d+) (\d+) (\d+) /.exec(entry);
  if (match === null) throw new EyrieError("RECORD_CORRUPT", { what: "mailbox", reason: "entry" });
  const turn = records.decode(entry.slice(match[0].length), mailboxPlace(conversation)) as Turn;
  if (turn.id !== match[2] || turn.attempt !== Number(match[3])) {
    throw new EyrieError("RECORD_CORRUPT", { what: "mailbox", reason: "identity" });
  }
  return { seq: Number(match[1]), turn };
}
