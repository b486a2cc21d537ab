/**
 * What truth says of every conversation, read with the readers that the platform itself uses. What
 * they refuse is a violation and left out of the picture.
 */
import { decodePastTurn, type PastTurn } from "#infra/ledger/past-turn.ts";
import type { Rewound } from "#infra/ledger/history.ts";
import { type LogHead, parseLogHead } from "#infra/ledger/tokenlog.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { decodeRecord } from "#infra/redis/record.ts";
import {
  type ConversationId,
  isConversationId,
  type ReplyRecord,
  type Turn,
  type TurnKey,
} from "#infra/turn/index.ts";
import type { Dump, StoredValue } from "./dump.ts";
import type { Violation } from "./violation.ts";

export interface StoredConversation {
  readonly id: ConversationId;
  readonly seq: number;
  readonly committedSeq: number;
  readonly fence: number;
  readonly community: string;
  readonly logHead: LogHead;
  /** `<tokens>:<crc>` where the kept log begins. */
  readonly logStart: string;
  readonly leased: boolean;
  readonly mailbox: readonly { readonly seq: number; readonly turn: Turn }[];
  readonly blocks: readonly Buffer[];
  readonly past: readonly PastTurn[];
  readonly records: readonly ReplyRecord[];
  readonly rewound: readonly Rewound[];
  /** `<turn> <attempt>` → Discord message ids of the reply's parts, in order. */
  readonly noted: ReadonlyMap<string, readonly string[]>;
}

export interface Picture {
  readonly conversations: ReadonlyMap<ConversationId, StoredConversation>;
  /** `<conversation> <turn> <attempt>` */
  readonly outbox: ReadonlySet<string>;
  readonly dirty: ReadonlySet<string>;
  /** Replies that the gateway is showing: `<conversation> <turn> <attempt>` */
  readonly open: ReadonlySet<string>;
  readonly refused: readonly Violation[];
}

const conversationKeyPattern = /^eyrie:\{\d+\}:([a-z]{2,16}-[A-Za-z0-9._-]+):([a-z]+)(?::(.*))?$/;

export function nameOf(key: TurnKey): string {
  return `${key.turn} ${key.attempt}`;
}

/** Which conversation a truth key belongs to, and what it is of it; null for keys of no conversation. */
export function partOfKey(
  key: string,
): { readonly conversation: ConversationId; readonly part: string; readonly rest: string } | null {
  const [, conversation = "", part = "", rest = ""] = conversationKeyPattern.exec(key) ?? [];
  return isConversationId(conversation) ? { conversation, part, rest } : null;
}

export function pictureOf(truth: Dump): Picture {
  const refused: Violation[] = [];
  const ids = new Set<ConversationId>();
  for (const key of truth.keys()) {
    const part = partOfKey(key);
    if (part !== null) ids.add(part.conversation);
  }
  const reader = new Reader(truth, refused);
  const conversations = new Map([...ids].map((id) => [id, reader.conversation(id)] as const));
  const members = (pattern: RegExp): Set<string> => reader.members(pattern);
  return {
    conversations,
    outbox: members(/^eyrie:\{\d+\}:outbox$/),
    dirty: members(/^eyrie:\{\d+\}:dirty$/),
    open: members(/^eyrie:gateway:[^:]+:open$/),
    refused,
  };
}

class Reader {
  readonly #truth: Dump;
  readonly #refused: Violation[];

  constructor(truth: Dump, refused: Violation[]) {
    this.#truth = truth;
    this.#refused = refused;
  }

  members(pattern: RegExp): Set<string> {
    const found = new Set<string>();
    for (const [key, value] of this.#truth) {
      if (!pattern.test(key)) continue;
      for (const name of namesIn(value)) found.add(name);
    }
    return found;
  }

  conversation(id: ConversationId): StoredConversation {
    const keys = conversationKeys(id);
    const meta = this.#hash(keys.meta);
    const prefix = keys.meta.slice(0, -"meta".length);
    const under = (part: string): [name: string, value: StoredValue][] =>
      [...this.#truth].flatMap(([key, value]) =>
        key.startsWith(`${prefix}${part}:`)
          ? [[key.slice(prefix.length + part.length + 1), value] as [string, StoredValue]]
          : [],
      );
    const records = under("reply").flatMap(([name, value]) => this.#record(id, name, value));
    return {
      id,
      seq: Number(meta.get("seq") ?? 0),
      committedSeq: Number(meta.get("committedSeq") ?? 0),
      fence: Number(meta.get("fence") ?? 0),
      community: meta.get("community") ?? "",
      logHead: parseLogHead(meta.get("logHead") ?? "0:0:0"),
      logStart: meta.get("logStart") ?? "0:0",
      leased: this.#truth.has(keys.lease),
      mailbox: this.#list(keys.mailbox).flatMap((entry) => this.#entry(id, String(entry))),
      blocks: this.#list(keys.log),
      past: this.#list(keys.turns).flatMap((entry) =>
        this.#try(`past turn of ${id}`, () => decodePastTurn(String(entry))),
      ),
      records: records.toSorted((a, b) => a.seq - b.seq),
      rewound: under("rewound").flatMap(([name, value]) =>
        this.#try(`rewound ${name} of ${id}`, () => decodeRecord(textOf(value), "") as Rewound),
      ),
      noted: new Map(
        under("delivery").map(([name, value]) => [name.replace(":", " "), partsIn(value)]),
      ),
    };
  }

  #record(id: ConversationId, name: string, value: StoredValue): ReplyRecord[] {
    return this.#try(`record ${name} of ${id}`, () => {
      const record = decodeRecord(textOf(value), "reply record") as ReplyRecord;
      if (`${record.turn}:${record.attempt}` !== name) throw new Error(`is ${record.turn}'s`);
      return record;
    });
  }

  #entry(id: ConversationId, entry: string): { seq: number; turn: Turn }[] {
    return this.#try(`mailbox entry of ${id}`, () => {
      const match = /^(\d+) (\d+) (\d+) /.exec(entry);
      if (match === null) throw new Error(`reads ${entry.slice(0, 40)}`);
      const turn = decodeRecord(entry.slice(match[0].length), "mailbox") as Turn;
      if (turn.id !== match[2] || turn.attempt !== Number(match[3])) {
        throw new Error(`is of ${match[2]}, holds ${turn.id}`);
      }
      return { seq: Number(match[1]), turn };
    });
  }

  #try<T>(what: string, read: () => T): T[] {
    try {
      return [read()];
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#refused.push({ kind: "corrupt", what: `${what}: ${reason}` });
      return [];
    }
  }

  #hash(key: string): ReadonlyMap<string, string> {
    const value = this.#truth.get(key);
    if (value?.kind !== "hash") return new Map();
    return new Map([...value.fields].map(([field, bytes]) => [field, bytes.toString()]));
  }

  #list(key: string): readonly Buffer[] {
    const value = this.#truth.get(key);
    return value?.kind === "list" ? value.values : [];
  }
}

function textOf(value: StoredValue): string {
  return value.kind === "string" ? value.value.toString() : "";
}

function namesIn(value: StoredValue): Iterable<string> {
  if (value.kind === "hash") return value.fields.keys();
  return value.kind === "zset" ? value.scores.keys() : [];
}

function partsIn(value: StoredValue): string[] {
  if (value.kind !== "hash") return [];
  const parts = [...value.fields].sort(([a], [b]) => Number(a) - Number(b));
  return parts.map(([, messageId]) => messageId.toString());
}
