/**
 * The ledger: committed turns, their token log, and the outbox of replies still to be shown.
 *
 * Promises: a turn commits once; its state, its record and its leaving the mailbox are one atom; a
 * record stays until it is delivered and 30 days longer. What a user finally sees is read here.
 */
import { bucketCount, bucketKeys, conversationKeys, outboxMember } from "#infra/redis/keys.ts";
import { blockPlace, pastTurnPlace, replyPlace } from "#infra/redis/places.ts";
import { plainRecords, type Records, rotIn } from "#infra/redis/records.ts";
import { refusal, type ScriptedRedis } from "#infra/redis/scripts.ts";
import {
  type ConversationId,
  isConversationId,
  type ReplyRecord,
  type TurnKey,
  turnId,
} from "#infra/turn/index.ts";
import { decodePastTurn, encodePastTurn, undoTurnsMax } from "./past-turn.ts";
import { speakerField } from "./speakers.ts";
import { readStanding } from "./standing.ts";
import {
  decodeLog,
  encodeBlock,
  formatLogHead,
  type LogBlock,
  type LogHead,
  parseLogHead,
  advance,
} from "./tokenlog.ts";

/** How long a reply record outlives its delivery. */
export const recordKeptSeconds = 30 * 24 * 3600;
/** How long the last turn is kept so that it can be asked again; at most until the next one. */
const lastKeptSeconds = 72 * 3600;
/** `<conversation> <turn> <attempt>`, ids as Discord writes them. */
const outboxWords = /^(\S+) (0|[1-9]\d{0,19}) (\d+)$/;

/** What a commit proves itself with; a mailbox claim has it all. */
export interface CommitClaim {
  readonly conversation: ConversationId;
  readonly lease: string;
}

export type CommitOutcome =
  | { readonly kind: "committed"; readonly waiting: number; readonly logHead: LogHead }
  /** Somebody (perhaps we, unheard) committed this turn before: its record stands. */
  | { readonly kind: "already-committed" }
  /** The lease is not ours any more: drop all work on it. */
  | { readonly kind: "lease-lost" }
  /** The conversation moved under us (undo, regenerate, reset): what is the head now is answered afresh. */
  | { readonly kind: "log-moved" };

export interface OutboxEntry {
  readonly conversation: ConversationId;
  readonly key: TurnKey;
  readonly committedAtMs: number;
}

export interface ConversationSummary {
  readonly logHead: LogHead;
  readonly blocks: number;
  readonly waiting: number;
  readonly fence: number;
  readonly turns: number;
}

export class Ledger {
  readonly #truth: ScriptedRedis;
  readonly #records: Records;

  constructor(truth: ScriptedRedis, records: Records = plainRecords) {
    this.#truth = truth;
    this.#records = records;
  }

  /** One atom: token block, reply record, mailbox, outbox. `tokens` is empty for a failed turn. */
  async commit(
    claim: CommitClaim,
    record: ReplyRecord,
    work: { readonly startedFrom: LogHead; readonly tokens: readonly number[] },
  ): Promise<CommitOutcome> {
    const keys = conversationKeys(claim.conversation);
    const key = { turn: record.turn, attempt: record.attempt };
    const logHead = advance(work.startedFrom, work.tokens);
    const { conversation } = claim;
    const past = encodePastTurn({ ...record, from: work.startedFrom });
    const first = { user: record.author, tokens: work.startedFrom.tokens };
    const speaker = speakerField(conversation, first, this.#records);
    const result = await this.#truth.commitTurn(
      keys.lease,
      keys.meta,
      keys.mailbox,
      keys.log,
      keys.reply(key),
      keys.outbox,
      keys.dirty,
      keys.turns,
      keys.last,
      keys.partial,
      claim.lease,
      record.turn,
      record.attempt,
      formatLogHead(work.startedFrom),
      work.tokens.length === 0 ? "" : this.#block(conversation, work),
      formatLogHead(logHead),
      this.#records.encode(record, replyPlace(conversation, key)),
      conversation,
      record.origin.kind === "cli" ? recordKeptSeconds : 0,
      this.#records.seal(past, pastTurnPlace(conversation)),
      undoTurnsMax,
      lastKeptSeconds,
      speaker.field,
      speaker.value,
    );
    switch (result) {
      case refusal.alreadyCommitted:
        return { kind: "already-committed" };
      case refusal.leaseLost:
        return { kind: "lease-lost" };
      case refusal.notTheHead:
      case refusal.logMoved:
        return { kind: "log-moved" };
      default:
        return { kind: "committed", waiting: result, logHead };
    }
  }

  /**
   * Takes a rotten entry from its mailbox: as the failed turn that `record` tells of, null when nobody
   * can tell which turn it was. Returns the mail left, or null when refused.
   */
  async endDamaged(
    { conversation, lease }: CommitClaim,
    entry: Buffer,
    record: ReplyRecord | null,
  ): Promise<number | null> {
    const keys = conversationKeys(conversation);
    const names = [keys.lease, keys.meta, keys.mailbox, keys.last, keys.partial, keys.dirty];
    const all = [...names, keys.outbox];
    const words: (string | number | Buffer)[] = [lease, entry, conversation];
    if (record !== null) {
      const key = { turn: record.turn, attempt: record.attempt };
      const kept = record.origin.kind === "cli" ? recordKeptSeconds : 0;
      all.push(keys.reply(key));
      words.push(this.#records.encode(record, replyPlace(conversation, key)));
      words.push(outboxMember(conversation, key), kept);
    }
    const left = await this.#truth.endDamaged(all.length, ...all, ...words);
    return left < 0 ? null : left;
  }

  #block(
    conversation: ConversationId,
    work: { readonly startedFrom: LogHead; readonly tokens: readonly number[] },
  ): Buffer {
    const block = encodeBlock(work.startedFrom, work.tokens);
    return this.#records.seal(block, blockPlace(conversation));
  }

  async reply(conversation: ConversationId, key: TurnKey): Promise<ReplyRecord | null> {
    const record = await this.#truth.get(conversationKeys(conversation).reply(key));
    if (record === null) return null;
    return this.#records.decode(record, replyPlace(conversation, key)) as ReplyRecord;
  }

  async logHead(conversation: ConversationId): Promise<LogHead> {
    const head = await this.#truth.hget(conversationKeys(conversation).meta, "logHead");
    return parseLogHead(head ?? "0:0:0");
  }

  /**
   * The kept blocks, oldest first, checked to lead to `head` without a gap; null when the
   * conversation does not stand there any more.
   */
  async log(conversation: ConversationId, head: LogHead): Promise<LogBlock[] | null> {
    const { blocks, logHead } = await readStanding(this.#truth, conversation);
    if (logHead !== formatLogHead(head)) return null;
    try {
      return decodeLog(this.#records.openAll(blocks, blockPlace(conversation)), head);
    } catch (error) {
      throw (await rotIn(error, this.#truth)) ?? error;
    }
  }

  /** Drops the oldest `blocks`, which every kept snapshot contains. False when refused. */
  async trim(
    claim: CommitClaim,
    start: { readonly from: string; readonly to: LogHead },
    blocks: number,
  ): Promise<boolean> {
    const keys = conversationKeys(claim.conversation);
    const left = await this.#truth.trimLog(
      keys.lease,
      keys.meta,
      keys.log,
      claim.lease,
      start.from,
      blocks,
      `${start.to.tokens}:${start.to.crc}`,
      start.to.epoch,
    );
    return left >= 0;
  }

  /** Where the log stood before the oldest turn that can be taken back; null when none can. */
  async undoHorizon(conversation: ConversationId): Promise<LogHead | null> {
    const oldest = await this.#truth.lindexBuffer(conversationKeys(conversation).turns, 0);
    if (oldest === null) return null;
    return decodePastTurn(this.#records.open(oldest, pastTurnPlace(conversation))).from;
  }

  async summary(conversation: ConversationId): Promise<ConversationSummary> {
    const keys = conversationKeys(conversation);
    const [meta, blocks, waiting] = await Promise.all([
      this.#truth.hgetall(keys.meta),
      this.#truth.llen(keys.log),
      this.#truth.llen(keys.mailbox),
    ]);
    return {
      logHead: parseLogHead(meta["logHead"] ?? "0:0:0"),
      blocks,
      waiting,
      fence: Number(meta["fence"] ?? 0),
      turns: Number(meta["committedSeq"] ?? 0),
    };
  }

  /** Replies committed but not marked delivered, oldest first within a bucket; rot is passed over. */
  async outbox(): Promise<OutboxEntry[]> {
    const buckets = Array.from({ length: bucketCount }, async (_, bucket) =>
      this.#truth.zrange(bucketKeys(bucket).outbox, "0", "-1", "WITHSCORES"),
    );
    return (await Promise.all(buckets)).flatMap(parseOutbox);
  }

  /**
   * Notes that part `part` of a reply is Discord message `messageId`; the first note wins. Of a
   * deleted conversation nothing is noted.
   */
  async notePart(
    conversation: ConversationId,
    key: TurnKey,
    part: { readonly index: number; readonly messageId: string },
  ): Promise<void> {
    const keys = conversationKeys(conversation);
    await this.#truth.notePart(
      keys.delivery(key),
      keys.known(key.turn),
      keys.reply(key),
      part.index,
      part.messageId,
      recordKeptSeconds,
    );
  }

  /** The part stands in Discord no more. */
  async dropPart(conversation: ConversationId, key: TurnKey, index: number): Promise<void> {
    await this.#truth.hdel(conversationKeys(conversation).delivery(key), String(index));
  }

  /** Discord message ids of a reply's parts, in order. */
  async parts(conversation: ConversationId, key: TurnKey): Promise<string[]> {
    const parts = await this.#truth.hgetall(conversationKeys(conversation).delivery(key));
    return Object.entries(parts)
      .sort(([a], [b]) => Number(a) - Number(b))
      .map(([, messageId]) => messageId);
  }

  async markDelivered(conversation: ConversationId, key: TurnKey): Promise<void> {
    const keys = conversationKeys(conversation);
    await this.#truth.markDelivered(
      keys.reply(key),
      keys.delivery(key),
      keys.outbox,
      outboxMember(conversation, key),
      recordKeptSeconds,
    );
  }
}

/**
 * A member that has rotted is passed over: whose reply it was, nobody can tell, and the others are to be
 * shown.
 */
function parseOutbox(members: readonly string[]): OutboxEntry[] {
  const entries: OutboxEntry[] = [];
  for (let index = 0; index + 1 < members.length; index += 2) {
    const [, conversation = "", turn = "", attempt] = outboxWords.exec(members[index] ?? "") ?? [];
    if (!isConversationId(conversation)) continue;
    entries.push({
      conversation,
      key: { turn: turnId(turn), attempt: Number(attempt) },
      committedAtMs: Number(members[index + 1]),
    });
  }
  return entries;
}
