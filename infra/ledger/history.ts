/**
 * Taking turns back: undo, regenerate, reset.
 *
 * Promises: afterwards log and state are as if those turns had never been; numbers go on growing; an
 * operation happens once however often it is asked for (a gateway that is restarted is told an
 * interaction again), and leaves a `rewound` record that says what it did. A turn that is running
 * meanwhile cannot commit and is answered afresh. Snapshots of what was taken back are the caller's
 * to drop: they lie on no log, so nothing will ever be restored from them.
 */
import { EyrieError } from "#infra/errors/error.ts";
import { conversationKeys, outboxMember } from "#infra/redis/keys.ts";
import { decodeRecord, encodeRecord } from "#infra/redis/record.ts";
import { refusal, type ScriptedRedis } from "#infra/redis/scripts.ts";
import {
  attemptsMax,
  type ConversationId,
  type Turn,
  type TurnKey,
  turnId,
} from "#infra/turn/index.ts";
import { decodePastTurn, type PastTurn } from "./past-turn.ts";
import { readStanding, type Standing } from "./standing.ts";
import { formatLogHead, parseLogHead } from "./tokenlog.ts";

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

export class History {
  readonly #truth: ScriptedRedis;

  constructor(truth: ScriptedRedis) {
    this.#truth = truth;
  }

  /** The turns that can be taken back, oldest first. */
  async turns(conversation: ConversationId): Promise<PastTurn[]> {
    const entries = await this.#truth.lrangeBuffer(conversationKeys(conversation).turns, 0, -1);
    return entries.map(decodePastTurn);
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
      const undone = turns.slice(-count).map(decodePastTurn);
      const [first] = undone;
      if (first === undefined) return null;
      const { forgotten, tokens } = between(undone, logHead);
      const to = formatLogHead(first.from);
      return { kind: "undo", turns: undone.map(named), forgotten, to, tokens };
    });
  }

  /**
   * Forgets everything: the next turn starts from the empty state, in a new epoch of the log. Null
   * when there is no such conversation.
   */
  async reset(conversation: ConversationId, operation: string): Promise<Rewound | null> {
    return this.#rewind(conversation, operation, ({ exists, logHead, turns }) => {
      if (!exists) return null;
      const { epoch, tokens } = parseLogHead(logHead);
      const past = turns.map(decodePastTurn);
      const { forgotten } = between(past, logHead);
      const to = formatLogHead({ epoch: epoch + 1, tokens: 0, crc: 0 });
      return { kind: "reset", turns: past.map(named), forgotten, to, tokens };
    });
  }

  async #rewind(
    conversation: ConversationId,
    operation: string,
    plan: (standing: Standing) => Rewound | null,
  ): Promise<Rewound | null> {
    const keys = conversationKeys(conversation);
    for (let tries = 0; tries < triesMax; tries++) {
      const before = await this.#rewound(conversation, operation);
      if (before !== null) return before;
      const standing = await readStanding(this.#truth, conversation);
      const rewound = plan(standing);
      if (rewound === null) return null;
      const result = await this.#truth.rewindConversation(
        keys.meta,
        keys.log,
        keys.turns,
        keys.last,
        keys.rewound(operation),
        standing.logHead,
        rewound.kind === "reset" ? "all" : rewound.turns.length,
        rewound.to,
        encodeRecord(rewound),
        rewoundKeptSeconds,
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
      const last = standing.last === null ? null : parseLast(standing.last);
      const isLast = last?.turn.id === key.turn && last.turn.attempt === key.attempt;
      if (!isLast || key.attempt + 1 >= attemptsMax) return { kind: "not-last" };
      const rewound = planRegenerate(standing, last);
      if (rewound === null)
        throw new EyrieError("RECORD_CORRUPT", { what: "turns", reason: "gap" });
      const turn = { ...last.turn, attempt: key.attempt + 1 };
      const result = await this.#regenerate(operation, { standing, rewound, turn });
      if (result > 0) return { kind: "waiting", turn, rewound };
      if (result === refusal.notTheHead) return { kind: "not-last" };
    }
    throw new EyrieError("BUSY_TRY_LATER");
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
      standing.last ?? "",
      standing.logHead,
      rewound.to,
      encodeRecord(rewound),
      rewoundKeptSeconds,
      `${turn.id} ${turn.attempt} ${encodeRecord(turn)}`,
      outboxMember(turn.conversation, before),
      turn.conversation,
      rewoundKeptSeconds,
    );
  }

  /** The same order again: its turn waits, or is answered. */
  async #again(
    conversation: ConversationId,
    key: TurnKey,
    rewound: Rewound,
  ): Promise<RegenerateOutcome> {
    const entries = await this.#truth.lrange(conversationKeys(conversation).mailbox, 0, -1);
    const turns = entries.map((entry) => parseMailboxEntry(entry));
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
  { logHead, turns }: Standing,
  last: { readonly spoke: boolean; readonly seq: number; readonly turn: Turn },
): Rewound | null {
  const { id, attempt } = last.turn;
  const taken = [{ turn: id, attempt, seq: last.seq }];
  const none = { kind: "regenerate", turns: taken, forgotten: [], to: logHead, tokens: 0 } as const;
  if (!last.spoke) return none;
  const newest = turns.at(-1);
  const past = newest === undefined ? null : decodePastTurn(newest);
  if (past?.turn !== id || past.attempt !== attempt) return null;
  return { ...none, ...between([past], logHead), to: formatLogHead(past.from) };
}

function parseLast(entry: string): { spoke: boolean; seq: number; turn: Turn } {
  const match = /^([01]) (\d+) /.exec(entry);
  if (match === null)
    throw new EyrieError("RECORD_CORRUPT", { what: "last turn", reason: "entry" });
  const turn = parseMailboxEntry(entry.slice(2));
  return { spoke: match[1] === "1", seq: Number(match[2]), turn };
}

/** `<seq> <turn> <attempt> <record>`, as in the mailbox. */
function parseMailboxEntry(entry: string): Turn {
  const match = /^\d+ (\d+) (\d+) /.exec(entry);
  if (match === null) throw new EyrieError("RECORD_CORRUPT", { what: "mailbox", reason: "entry" });
  const turn = decodeRecord(entry.slice(match[0].length), "turn") as Turn;
  if (turn.id !== turnId(match[1] ?? "") || turn.attempt !== Number(match[2])) {
    throw new EyrieError("RECORD_CORRUPT", { what: "mailbox", reason: "identity" });
  }
  return turn;
}
