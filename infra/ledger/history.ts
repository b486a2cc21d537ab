/**
 * Taking turns back: undo, regenerate, reset.
 *
 * Promises: afterwards log and state are as if those turns had never been; numbers go on growing; an
 * operation happens once however often it is asked for (a gateway that is restarted is told an
 * interaction again), and leaves a `rewound` record that says what it did. A turn that is running
 * meanwhile cannot commit and is answered afresh. Snapshots of what was taken back are the caller's
 * to drop: they lie on no log, so nothing will ever be restored from them.
 */
import { randomBytes } from "node:crypto";
import { EyrieError } from "#infra/errors/error.ts";
import { conversationKeys, outboxMember } from "#infra/redis/keys.ts";
import { blockPlace, mailboxPlace, pastTurnPlace } from "#infra/redis/places.ts";
import { decodeRecord, encodeRecord } from "#infra/redis/record.ts";
import { plainRecords, type Records, undamaged } from "#infra/redis/records.ts";
import { refusal, type ScriptedRedis } from "#infra/redis/scripts.ts";
import {
  attemptsMax,
  type ConversationId,
  type Turn,
  type TurnKey,
  turnId,
  type UserId,
} from "#infra/turn/index.ts";
import { decodePastTurn, type PastTurn } from "./past-turn.ts";
import { readStanding, type Standing } from "./standing.ts";
import { mayBeOf, type Speaker, type SpeakerField, speakerOf } from "./speakers.ts";
import { decodeLog, formatLogHead, type LogHead, parseLogHead } from "./tokenlog.ts";

/** Far beyond any redelivery by Discord; a turn id is known as long. */
export const rewoundKeptSeconds = 72 * 3600;
/** How often a log may move under one operation. Each move is a turn committed in that moment. */
const triesMax = 50;

/** What an operation took back; kept under its name in truth. */
export interface Rewound {
  readonly kind: "undo" | "regenerate" | "reset";
  /** Oldest first. A reset names only those that an undo could have named. */
  readonly turns: readonly (TurnKey & { readonly seq: number })[];
  /** Log heads before and after, and those in between, newest first: where snapshots may lie. */
  readonly forgotten: readonly string[];
  readonly to: string;
  /** Tokens forgotten. */
  readonly tokens: number;
}

export type RegenerateOutcome =
  /** The turn waits in its mailbox again: ring, and show it. */
  | { readonly kind: "waiting"; readonly turn: Turn; readonly rewound: Rewound }
  /** This operation was done before and its turn has been answered since. */
  | { readonly kind: "answered" }
  /** Another turn was answered since, or waits; or it was taken back, or asked too often. */
  | { readonly kind: "not-last" };

interface LastTurn {
  readonly spoke: boolean;
  readonly seq: number;
  readonly turn: Turn;
}

export class History {
  readonly #truth: ScriptedRedis;
  readonly #records: Records;

  constructor(truth: ScriptedRedis, records: Records = plainRecords) {
    this.#truth = truth;
    this.#records = records;
  }

  /** The turns that can be taken back, oldest first. */
  async turns(conversation: ConversationId): Promise<PastTurn[]> {
    const entries = await this.#truth.lrangeBuffer(conversationKeys(conversation).turns, 0, -1);
    return this.#past(conversation, entries);
  }

  /** The same without those that have rotted, for who looks for one person's. */
  async readableTurns(conversation: ConversationId): Promise<PastTurn[]> {
    const entries = await this.#truth.lrangeBuffer(conversationKeys(conversation).turns, 0, -1);
    return this.#readablePast(conversation, entries);
  }

  #past(conversation: ConversationId, stored: readonly Buffer[]): PastTurn[] {
    return this.#records.openAll(stored, pastTurnPlace(conversation)).map(decodePastTurn);
  }

  async #readablePast(
    conversation: ConversationId,
    stored: readonly Buffer[],
  ): Promise<PastTurn[]> {
    const read = async (one: Buffer): Promise<PastTurn[]> =>
      (await undamaged(this.#truth, () => this.#past(conversation, [one]))) ?? [];
    return (await Promise.all(stored.map(read))).flat();
  }

  /**
   * Takes the last `count` turns back, or as many as can be; null when there is none. Failed turns
   * are not counted: they never were in the log.
   */
  async undo(
    conversation: ConversationId,
    count: number,
    operation: string,
  ): Promise<Rewound | null> {
    return this.#rewind(conversation, operation, ({ logHead, turns }) => {
      const undone = this.#past(conversation, turns.slice(-count));
      return undone.length === 0 ? null : planUndo(undone, logHead);
    });
  }

  /**
   * Forgets everything: the next turn starts from the empty state, in a new epoch of the log. What has
   * rotted does not stand in the way. Null when there is no such conversation.
   */
  async reset(conversation: ConversationId, operation: string): Promise<Rewound | null> {
    return this.#rewind(conversation, operation, (standing) =>
      standing.exists ? this.#planReset(conversation, standing) : null,
    );
  }

  async #planReset(conversation: ConversationId, { logHead, turns }: Standing): Promise<Rewound> {
    const { epoch, tokens } = parseLogHead(logHead);
    const past = await this.#readablePast(conversation, turns);
    const { forgotten } = between(past, logHead);
    const to = formatLogHead({ epoch: epoch + 1, tokens: 0, crc: 0 });
    return { kind: "reset", turns: past.map(named), forgotten, to, tokens };
  }

  /** Whether the log holds a turn of theirs, however long ago, or may hold one. */
  async spoke(conversation: ConversationId, user: UserId): Promise<boolean> {
    const { speakers, turns } = await readStanding(this.#truth, conversation);
    const past = await this.#readablePast(conversation, turns);
    const { rotten, spoke } = await this.#speakers(conversation, speakers);
    return (
      past.some(({ author }) => author === user) ||
      spoke.some((one) => one.user === user) ||
      rotten.some((field) => mayBeOf(conversation, user, field, this.#records))
    );
  }

  /**
   * Takes everything back from a person's first turn on: an undo if it is one of those that can be
   * taken back and the state before it can still be had, from the log or a snapshot at one of
   * `keptHeads`, else a reset; also where rot hides what their first turn was. The record that is left
   * names no turn. Null when they never spoke.
   */
  async forget(
    conversation: ConversationId,
    user: UserId,
    options: { readonly prefix: string; readonly keptHeads: () => Promise<readonly string[]> },
  ): Promise<Rewound | null> {
    const operation = `${options.prefix}${randomBytes(12).toString("hex")}`;
    const plan = async (standing: Standing): Promise<Rewound | null> => {
      const { logHead } = standing;
      const past = await this.#readablePast(conversation, standing.turns);
      const { rotten, spoke } = await this.#speakers(conversation, standing.speakers);
      const hidden = rotten.some((field) => mayBeOf(conversation, user, field, this.#records));
      const starts = spoke.filter((one) => one.user === user).map(({ tokens }) => tokens);
      const index = past.findIndex(({ author }) => author === user);
      if (starts.length === 0 && index < 0 && !hidden) return null;
      const whole = !hidden && past.length === standing.turns.length;
      const horizon = past[0]?.from ?? parseLogHead(logHead);
      const known = whole && starts.length > 0 && Math.min(...starts) >= horizon.tokens;
      const undone = index < 0 ? [] : past.slice(index);
      const target = undone[0]?.from ?? parseLogHead(logHead);
      const kept = await options.keptHeads();
      if (!known || !(await this.#restorable(conversation, { standing, target, kept }))) {
        return this.#planReset(conversation, standing);
      }
      return planUndo(undone, logHead);
    };
    return this.#rewind(conversation, operation, plan, { leaving: user });
  }

  /**
   * Whether the state at `target` can be had: the log can be read, and reaches back to its beginning or
   * to a snapshot.
   */
  async #restorable(
    conversation: ConversationId,
    work: {
      readonly standing: Standing;
      readonly target: LogHead;
      readonly kept: readonly string[];
    },
  ): Promise<boolean> {
    const { kept, standing, target } = work;
    const blocks = await undamaged(this.#truth, () => {
      const stored = this.#records.openAll(standing.blocks, blockPlace(conversation));
      return decodeLog(stored, parseLogHead(standing.logHead));
    });
    if (blocks === null) return false;
    if (target.tokens === 0 || blocks[0]?.start.tokens === 0) return true;
    const heads = blocks.map(({ start }) => start).filter(({ tokens }) => tokens <= target.tokens);
    const reachable = new Set([target, ...heads].map(formatLogHead));
    return kept.some((head) => reachable.has(head));
  }

  async #speakers(
    conversation: ConversationId,
    fields: readonly SpeakerField[],
  ): Promise<{
    readonly spoke: readonly (Speaker & { readonly field: string })[];
    readonly rotten: readonly SpeakerField[];
  }> {
    const spoke: (Speaker & { field: string })[] = [];
    const rotten: SpeakerField[] = [];
    for (const one of fields) {
      const speaker = await undamaged(this.#truth, () =>
        speakerOf(conversation, one, this.#records),
      );
      if (speaker === null) rotten.push(one);
      else spoke.push({ field: one.field, ...speaker });
    }
    return { spoke, rotten };
  }

  /** Fields of those who had not spoken yet where the log ends then, and of who leaves. */
  async #fieldsOfNobody(
    conversation: ConversationId,
    { speakers }: Standing,
    work: { readonly rewound: Rewound; readonly leaving: UserId | undefined },
  ): Promise<string[]> {
    const { leaving, rewound } = work;
    if (rewound.kind === "reset") return speakers.map(({ field }) => field);
    const end = parseLogHead(rewound.to).tokens;
    const { spoke } = await this.#speakers(conversation, speakers);
    return spoke
      .filter(({ tokens, user }) => tokens >= end || user === leaving)
      .map(({ field }) => field);
  }

  /** The log's end, for whoever compares snapshots with it. */
  async logHead(conversation: ConversationId): Promise<LogHead> {
    const head = await this.#truth.hget(conversationKeys(conversation).meta, "logHead");
    return parseLogHead(head ?? "0:0:0");
  }

  async #rewind(
    conversation: ConversationId,
    operation: string,
    plan: (standing: Standing) => Rewound | null | Promise<Rewound | null>,
    options: { readonly leaving?: UserId } = {},
  ): Promise<Rewound | null> {
    const keys = conversationKeys(conversation);
    for (let tries = 0; tries < triesMax; tries++) {
      const before = await this.#rewound(conversation, operation);
      if (before !== null) return before;
      const standing = await readStanding(this.#truth, conversation);
      const rewound = await plan(standing);
      if (rewound === null) return null;
      const { leaving } = options;
      const stored = leaving === undefined ? rewound : { ...rewound, turns: [] };
      const result = await this.#truth.rewindConversation(
        keys.meta,
        keys.log,
        keys.turns,
        keys.last,
        keys.partial,
        keys.rewound(operation),
        standing.logHead,
        rewound.kind === "reset" ? "all" : rewound.turns.length,
        rewound.to,
        encodeRecord(stored),
        rewoundKeptSeconds,
        ...(await this.#fieldsOfNobody(conversation, standing, { rewound, leaving })),
      );
      if (result === 1) return rewound;
    }
    throw new EyrieError("BUSY_TRY_LATER");
  }

  /** Puts the last turn back into the mailbox as its next attempt, if `key` names that turn. */
  async regenerate(
    conversation: ConversationId,
    key: TurnKey,
    operation: string,
  ): Promise<RegenerateOutcome> {
    for (let tries = 0; tries < triesMax; tries++) {
      const before = await this.#rewound(conversation, operation);
      if (before !== null) return this.#again(conversation, key, before);
      const standing = await readStanding(this.#truth, conversation);
      const last = standing.last === null ? null : this.#last(conversation, standing.last);
      const isLast = last?.turn.id === key.turn && last.turn.attempt === key.attempt;
      if (!isLast || key.attempt + 1 >= attemptsMax) return { kind: "not-last" };
      const newest = this.#past(conversation, standing.turns.slice(-1))[0];
      const rewound = planRegenerate(standing.logHead, last, newest);
      if (rewound === null)
        throw new EyrieError("RECORD_CORRUPT", { what: "turns", reason: "gap" });
      const turn = { ...last.turn, attempt: key.attempt + 1 };
      const result = await this.#regenerate(operation, { standing, rewound, turn });
      if (result > 0) return { kind: "waiting", turn, rewound };
      if (result === refusal.notTheHead && !(await this.#lastIsOther(conversation, standing))) {
        return { kind: "not-last" };
      }
    }
    throw new EyrieError("BUSY_TRY_LATER");
  }

  /** The last turn is written otherwise than it was: sealed anew, say. */
  async #lastIsOther(conversation: ConversationId, { last }: Standing): Promise<boolean> {
    return (await readStanding(this.#truth, conversation)).last !== last;
  }

  async #regenerate(
    operation: string,
    work: { readonly standing: Standing; readonly rewound: Rewound; readonly turn: Turn },
  ): Promise<number> {
    const { standing, rewound, turn } = work;
    const keys = conversationKeys(turn.conversation);
    const next = { turn: turn.id, attempt: turn.attempt };
    const before = { turn: turn.id, attempt: turn.attempt - 1 };
    return this.#truth.regenerateTurn(
      keys.meta,
      keys.log,
      keys.turns,
      keys.last,
      keys.rewound(operation),
      keys.mailbox,
      keys.dirty,
      keys.outbox,
      keys.known(turn.id),
      keys.reply(before),
      keys.delivery(before),
      keys.delivery(next),
      keys.active,
      keys.stop(turn.id),
      standing.last ?? "",
      standing.logHead,
      rewound.to,
      encodeRecord(rewound),
      rewoundKeptSeconds,
      `${turn.id} ${turn.attempt} ${this.#records.encode(turn, mailboxPlace(turn.conversation))}`,
      outboxMember(turn.conversation, before),
      turn.conversation,
      rewoundKeptSeconds,
    );
  }

  /** `<1 if it has a block, else 0> <mailbox entry>` */
  #last(conversation: ConversationId, stored: string): LastTurn {
    const match = /^([01]) (\d+) /.exec(stored);
    if (match === null) {
      throw new EyrieError("RECORD_CORRUPT", { what: "last turn", reason: "entry" });
    }
    const turn = this.#entry(conversation, stored.slice(2));
    return { spoke: match[1] === "1", seq: Number(match[2]), turn };
  }

  /** `<seq> <turn> <attempt> <record>`, as in the mailbox. */
  #entry(conversation: ConversationId, stored: string): Turn {
    const match = /^\d+ (\d+) (\d+) /.exec(stored);
    if (match === null) {
      throw new EyrieError("RECORD_CORRUPT", { what: "mailbox", reason: "entry" });
    }
    const record = stored.slice(match[0].length);
    const turn = this.#records.decode(record, mailboxPlace(conversation)) as Turn;
    if (turn.id !== turnId(match[1] ?? "") || turn.attempt !== Number(match[2])) {
      throw new EyrieError("RECORD_CORRUPT", { what: "mailbox", reason: "identity" });
    }
    return turn;
  }

  /** The same order again: its turn waits, or is answered. */
  async #again(
    conversation: ConversationId,
    key: TurnKey,
    rewound: Rewound,
  ): Promise<RegenerateOutcome> {
    const entries = await this.#truth.lrange(conversationKeys(conversation).mailbox, 0, -1);
    const turns = entries.map((entry) => this.#entry(conversation, entry));
    const turn = turns.find(({ id, attempt }) => id === key.turn && attempt === key.attempt + 1);
    return turn === undefined ? { kind: "answered" } : { kind: "waiting", turn, rewound };
  }

  async #rewound(conversation: ConversationId, operation: string): Promise<Rewound | null> {
    const record = await this.#truth.get(conversationKeys(conversation).rewound(operation));
    return record === null ? null : (decodeRecord(record, "rewound record") as Rewound);
  }
}

function named({ seq, turn, attempt }: PastTurn): Rewound["turns"][number] {
  return { turn, attempt, seq };
}

function planUndo(undone: readonly PastTurn[], logHead: string): Rewound {
  const turns = undone.map(named);
  const [first] = undone;
  if (first === undefined) return { kind: "undo", turns, forgotten: [], to: logHead, tokens: 0 };
  const { forgotten, tokens } = between(undone, logHead);
  return { kind: "undo", turns, forgotten, to: formatLogHead(first.from), tokens };
}

/** Heads that no longer lie on the log when `undone` are taken back, newest first. */
function between(
  undone: readonly PastTurn[],
  logHead: string,
): { readonly forgotten: string[]; readonly tokens: number } {
  const starts = undone.slice(1).map(({ from }) => formatLogHead(from));
  const head = parseLogHead(logHead);
  return {
    forgotten: [logHead, ...starts.toReversed()],
    tokens: head.tokens - (undone[0]?.from.tokens ?? head.tokens),
  };
}

/** Null when the turn has a block and no entry that says where it began. */
function planRegenerate(
  logHead: string,
  last: LastTurn,
  past: PastTurn | undefined,
): Rewound | null {
  const { id, attempt } = last.turn;
  const taken = [{ turn: id, attempt, seq: last.seq }];
  const none = { kind: "regenerate", turns: taken, forgotten: [], to: logHead, tokens: 0 } as const;
  if (!last.spoke) return none;
  if (past?.turn !== id || past.attempt !== attempt) return null;
  return { ...none, ...between([past], logHead), to: formatLogHead(past.from) };
}
