/**
 * Taking one person out of a conversation: afterwards neither Redis holds anything that they said or
 * that is named after a turn of theirs, and the state never heard them.
 *
 * A state cannot unlearn one person, so the log is rolled back to before their first turn, with what
 * others said since; where that lies further back than the kept snapshots and log reach, or rot hides
 * where it lies, everything is forgotten. Order: what names their turns, then the log, whose list of
 * speakers says that there was something to do, then the states; so whoever is stopped in between
 * finds the rest by the same look the next time. Turns that come meanwhile are looked for again.
 */
import { orderStop } from "#infra/control/control.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { History, Rewound } from "#infra/ledger/history.ts";
import { parseLogHead } from "#infra/ledger/tokenlog.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { decodeRecord } from "#infra/redis/record.ts";
import { undamaged } from "#infra/redis/records.ts";
import {
  type ConversationId,
  type ReplyRecord,
  type Turn,
  turnId,
  type TurnKey,
  type UserId,
} from "#infra/turn/index.ts";
import type { DeleteParts } from "./delete.ts";
import { ofUser, storedInTruth, type StoredInTruth } from "./stored.ts";
import { openValue, valueKind } from "./values.ts";

/** How often turns of theirs may come in or end while they are looked for. */
const triesMax = 50;
/** Begins the names of these operations; what they took back is dropped again by the next one. */
export const forgetPrefix = "forget-";

export type Forgotten =
  /** There was nothing of them. */
  | { readonly kind: "nothing" }
  /** Only what waited, or records of turns that the state does not hold. */
  | { readonly kind: "records" }
  /** The log ends before their first turn; so many turns, others' among them, are taken back. */
  | { readonly kind: "rolled-back"; readonly turns: number }
  /** Their first turn lies too far back: everything is forgotten. */
  | { readonly kind: "reset" };

export interface ForgetParts extends DeleteParts {
  readonly history: History;
}

export async function forgetUser(
  parts: ForgetParts,
  conversation: ConversationId,
  user: UserId,
): Promise<Forgotten> {
  const { history, snapshots, truth } = parts;
  let outcome: Forgotten = { kind: "nothing" };
  for (let tries = 0; tries < triesMax; tries++) {
    const stored = await storedInTruth(truth, conversation, parts.records);
    await dropForgotten(parts, conversation, stored);
    const traces = await tracesOf(parts, { conversation, user, stored });
    const spoke = await history.spoke(conversation, user);
    if (!spoke && isNothing(traces)) return outcome;
    if (outcome.kind === "nothing") outcome = { kind: "records" };
    await withdraw(parts, conversation, traces);
    if (!spoke) continue;
    const rewound = await history.forget(conversation, user, {
      prefix: forgetPrefix,
      keptHeads: async () => snapshots.present(conversation),
    });
    if (rewound !== null) outcome = both(outcome, rewound);
  }
  throw new EyrieError("BUSY_TRY_LATER");
}

function both(before: Forgotten, rewound: Rewound): Forgotten {
  if (rewound.kind === "reset" || before.kind === "reset") return { kind: "reset" };
  if (rewound.turns.length === 0) return before;
  const turns = before.kind === "rolled-back" ? before.turns : 0;
  return { kind: "rolled-back", turns: turns + rewound.turns.length };
}

/** The states of what was taken back, now or by a run that was stopped. */
async function dropForgotten(
  { history, snapshots, truth }: ForgetParts,
  conversation: ConversationId,
  stored: StoredInTruth,
): Promise<void> {
  const { epoch } = await history.logHead(conversation);
  const heads = await snapshots.heads(conversation);
  const gone = new Set(heads.filter((head) => parseLogHead(head).epoch < epoch));
  const prefix = conversationKeys(conversation).rewound(forgetPrefix);
  for (const key of stored.keys.filter((one) => one.startsWith(prefix))) {
    for (const head of (await rewoundIn(truth, key))?.forgotten ?? []) gone.add(head);
  }
  await snapshots.drop(conversation, [...gone]);
}

async function rewoundIn(truth: ForgetParts["truth"], key: string): Promise<Rewound | null> {
  const record = await truth.get(key);
  return record === null ? null : readable(() => decodeRecord(record, "rewound record") as Rewound);
}

/** What is named after their turns. */
interface Traces {
  /** Of an entry that has rotted, the turn as its words in clear name it, if they do. */
  readonly waiting: readonly { readonly entry: Buffer; readonly key: TurnKey | null }[];
  /** The last turn as stored, if it is theirs or has rotted; else empty. */
  readonly last: Buffer;
  readonly keys: readonly string[];
  readonly outbox: readonly string[];
  readonly inProgress: readonly { readonly key: string; readonly field: string }[];
}

function isNothing({ inProgress, keys, last, outbox, waiting }: Traces): boolean {
  return waiting.length + keys.length + outbox.length + inProgress.length + last.length === 0;
}

interface Wanted {
  readonly conversation: ConversationId;
  readonly user: UserId;
  readonly stored: StoredInTruth;
}

async function tracesOf(parts: ForgetParts, wanted: Wanted): Promise<Traces> {
  const { history, records, truth } = parts;
  const { conversation, stored, user } = wanted;
  const waiting = await mailOf(parts, wanted);
  const turns = new Set<string>(waiting.flatMap(({ key }) => key?.turn ?? []));
  const { last: lastKey } = conversationKeys(conversation);
  const last = (await truth.getBuffer(lastKey)) ?? Buffer.alloc(0);
  const lastTurn = await turnIn(parts, lastKey, last);
  const keepsLast = lastTurn !== null && lastTurn.author !== user;
  if (lastTurn?.author === user) turns.add(lastTurn.id);
  for (const past of await history.readableTurns(conversation)) {
    if (past.author === user) turns.add(past.turn);
  }
  for (const turn of await repliesTo(parts, wanted)) turns.add(turn);
  return {
    waiting,
    last: keepsLast ? Buffer.alloc(0) : last,
    keys: await keysNaming(parts, wanted, turns),
    outbox: stored.outbox.filter((member) => turns.has(member.split(" ")[1] ?? "")),
    inProgress: await ofUser(truth, stored.inProgress, { records, user }),
  };
}

/** What waits of theirs, and what has rotted and may be theirs: that could not be answered anyway. */
async function mailOf(parts: ForgetParts, wanted: Wanted): Promise<Traces["waiting"]> {
  const { mailbox } = conversationKeys(wanted.conversation);
  const waiting: { entry: Buffer; key: TurnKey | null }[] = [];
  for (const entry of await parts.truth.lrangeBuffer(mailbox, 0, -1)) {
    const turn = await turnIn(parts, mailbox, entry);
    if (turn !== null && turn.author !== wanted.user) continue;
    const words = /^\d+ (0|[1-9]\d{0,19}) (\d+) /.exec(entry.toString("latin1"));
    const named =
      words === null ? null : { turn: turnId(words[1] ?? ""), attempt: Number(words[2]) };
    waiting.push({ entry, key: turn === null ? named : { turn: turn.id, attempt: turn.attempt } });
  }
  return waiting;
}

/** A turn as the mailbox and `last` hold it, under this key; null for one that has rotted. */
async function turnIn(
  { records, truth }: ForgetParts,
  key: string,
  value: Buffer,
): Promise<Turn | null> {
  return undamaged(truth, () => {
    const plain = openValue(value, valueKind(key, null), records).toString();
    return decodeRecord(plain.replace(/^(?:\d+ ){3,4}(?=1 )/, ""), "mailbox") as Turn;
  });
}

/** Turns of theirs that have a reply record. */
async function repliesTo({ records, truth }: ForgetParts, wanted: Wanted): Promise<string[]> {
  const prefix = conversationKeys(wanted.conversation).meta.replace(/meta$/, "reply:");
  const turns: string[] = [];
  for (const key of wanted.stored.keys.filter((one) => one.startsWith(prefix))) {
    const value = await truth.getBuffer(key);
    if (value === null) continue;
    const record = readable(() => {
      const plain = openValue(value, valueKind(key, null), records).toString();
      return decodeRecord(plain, "reply record") as ReplyRecord;
    });
    if (record?.author === wanted.user) turns.push(record.turn);
  }
  return turns;
}

/** Keys in whose names or records one of the turns is. */
async function keysNaming(
  { truth }: ForgetParts,
  { conversation, stored }: Wanted,
  turns: ReadonlySet<string>,
): Promise<string[]> {
  const prefix = conversationKeys(conversation).meta.replace(/meta$/, "");
  const keys: string[] = [];
  for (const key of stored.keys) {
    const [kind = "", turn = ""] = key.slice(prefix.length).split(":");
    const named = ["reply", "delivery", "known", "stop"].includes(kind) && turns.has(turn);
    const rewound = kind === "rewound" ? await rewoundIn(truth, key) : null;
    if (named || rewound?.turns.some((one) => turns.has(one.turn)) === true) keys.push(key);
  }
  return keys;
}

/** Takes out what was found; a worker that is at one of their turns stops, and wakes are taken back. */
async function withdraw(
  { bell, live, truth }: ForgetParts,
  conversation: ConversationId,
  traces: Traces,
): Promise<void> {
  const names = conversationKeys(conversation);
  const { dirty, outbox: undelivered, partial } = names;
  const keys = [names.mailbox, names.meta, names.lease, names.last, partial, dirty, undelivered];
  const { inProgress, last, outbox, waiting } = traces;
  const all = [...keys, ...traces.keys];
  const entries = waiting.map(({ entry }) => entry);
  const words = [conversation, last, entries.length, ...entries, ...outbox];
  await truth.forgetTurns(all.length, ...all, ...words);
  for (const { key, field } of inProgress) await truth.hdel(key, field);
  for (const { key } of waiting) {
    if (key === null) continue;
    await orderStop(truth, conversation, key);
    await live.publish(conversation, { kind: "done", ...key, deleted: true });
  }
  const model = await truth.hget(names.meta, "model");
  if (model === null) return;
  // A wake may name one of their turns; for others' mail that is left the sweeper rings.
  await bell.forget(conversation, model);
}

/** Null for a record that has rotted: whose it was, nobody can tell. */
function readable<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof EyrieError) return null;
    throw error;
  }
}
