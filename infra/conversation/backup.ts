/**
 * Backing up every conversation into one file; `restore.ts` puts them back.
 *
 * A conversation is copied as it stands at one moment, in one script, while the platform goes on;
 * conversations are copied one after the other, so two of them may be of different moments. With it go
 * the states that its log begins from. What is sealed is opened, and the file sealed as a whole: it
 * may be restored under other keys than those that it was taken from, as long as the ring still holds
 * the one that sealed the file.
 *
 * Left out are leases, stop requests, and what a gateway is doing at that moment; a reply that was
 * not delivered is delivered after a restore, a turn that waited is answered. Memory: the names of
 * one group of conversations, and one conversation with its states.
 */
import { EyrieError } from "#infra/errors/error.ts";
import { decodePastTurn } from "#infra/ledger/past-turn.ts";
import { decodeSpeaker } from "#infra/ledger/speakers.ts";
import { decodeLog, formatLogHead, parseLogHead } from "#infra/ledger/tokenlog.ts";
import { keyCount, keyPages } from "#infra/redis/address.ts";
import {
  bucketCount,
  bucketKeys,
  bucketOf,
  conversationKeys,
  truthKeyParts,
} from "#infra/redis/keys.ts";
import { type Records, undamaged } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import { type ConversationId, type TurnKey, turnId } from "#infra/turn/index.ts";
import { BackupWriter } from "./backup-file.ts";
import { type CopiedKey, type Copy, encodeCopy, encodeState } from "./backup-frames.ts";
import type { Progress, Stores } from "./rotation.ts";
import { openValue, valueKind } from "./values.ts";

/** Names of this many keys are held at once, about; above it truth is gone through several times. */
const keysPerGroup = 100_000;
/** A turn may come or end between the look and the copy; the next look finds it. */
const triesMax = 50;
const pageSize = 1_000;

export interface BackedUp {
  readonly conversations: number;
  readonly snapshots: number;
  readonly bytes: number;
  /** Conversations with records that have rotted; in the file these records are empty. */
  readonly damaged: readonly string[];
}

export interface BackupOptions {
  /** Replaces a file that is there. */
  readonly replace?: boolean;
  readonly progress?: Progress;
  /** Stops it and leaves no file behind. */
  readonly signal?: AbortSignal;
}

export async function backUp(
  stores: Stores,
  path: string,
  { progress = () => {}, replace = false, signal }: BackupOptions = {},
): Promise<BackedUp> {
  const writer = await BackupWriter.create(path, stores.records, { replace });
  try {
    const total = await conversationCount(stores.truth);
    const counts = { conversations: 0, snapshots: 0, damaged: [] as string[] };
    progress(0, total);
    for await (const [conversation, names] of everyConversation(stores.truth)) {
      if (signal?.aborted === true) throw new EyrieError("BACKUP_STOPPED", { path });
      const copied = await copyOne(stores, conversation, names);
      if (copied === null) continue;
      for (const [logHead, packed] of copied.states) {
        await writer.add("snapshot", encodeState({ conversation, logHead }, packed));
        counts.snapshots++;
      }
      await writer.add("conversation", encodeCopy(copied.copy));
      if (copied.damaged) counts.damaged.push(conversation);
      counts.conversations++;
      progress(Math.min(counts.conversations, total), total);
    }
    return { ...counts, bytes: await writer.finish() };
  } finally {
    await writer.discard();
  }
}

async function conversationCount(truth: ScriptedRedis): Promise<number> {
  let count = 0;
  for (let bucket = 0; bucket < bucketCount; bucket++) {
    count += await truth.zcard(bucketKeys(bucket).active);
  }
  return count;
}

/** Each with the names of its keys, group by group. */
async function* everyConversation(
  truth: ScriptedRedis,
): AsyncGenerator<[ConversationId, readonly string[]]> {
  const groups = Math.min(bucketCount, Math.ceil(((await keyCount(truth)) + 1) / keysPerGroup));
  for (let group = 0; group < groups; group++) {
    const names = new Map<ConversationId, string[]>();
    for await (const page of keyPages(truth, "eyrie:{*")) {
      for (const key of page) {
        const parts = truthKeyParts(key);
        if (parts === null || bucketOf(parts.conversation) % groups !== group) continue;
        names.set(parts.conversation, [...(names.get(parts.conversation) ?? []), key]);
      }
    }
    yield* names;
  }
}

interface Copied {
  readonly copy: Copy;
  readonly states: readonly (readonly [logHead: string, packed: Buffer])[];
  readonly damaged: boolean;
}

/** Null for one that is not there any more. */
async function copyOne(
  stores: Stores,
  conversation: ConversationId,
  names: readonly string[],
): Promise<Copied | null> {
  const { truth } = stores;
  const { dirty, meta } = conversationKeys(conversation);
  for (let tries = 0; tries < triesMax; tries++) {
    const before = await seqs(truth, meta);
    const outbox = await outboxOf(truth, conversation);
    const keys = [
      ...new Set([...names, ...(await newestKeys(stores, conversation)), ...outbox.keys]),
    ];
    const wanted = keys.filter((key) => isKept(truthKeyParts(key)?.name ?? ""));
    const raw = await truth.copyConversationBuffer(wanted.length, ...wanted);
    const waits = (await truth.zscore(dirty, conversation)) !== null;
    const { copied, damaged } = await openKeys(stores, wanted, raw);
    if (!copied.some(({ name }) => name === "meta")) return null;
    if ((await seqs(truth, meta)) !== before) continue;
    const copy = { conversation, keys: copied, waits, outbox: outbox.members };
    const log = await logOf(truth, copy);
    const states = await statesOn(stores, conversation, log.heads);
    // Its states have gone on meanwhile; without one the log begins nowhere.
    if (!log.whole && states.length === 0 && !damaged && tries + 1 < triesMax) continue;
    return { copy, states, damaged };
  }
  throw new EyrieError("BUSY_TRY_LATER");
}

/** Runs out by itself, and would be wrong by the time of a restore. */
function isKept(name: string): boolean {
  return name !== "" && name !== "lease" && !name.startsWith("stop:");
}

async function seqs(truth: ScriptedRedis, meta: string): Promise<string> {
  return (await truth.hmget(meta, "seq", "committedSeq", "logHead")).join(" ");
}

async function outboxOf(
  truth: ScriptedRedis,
  conversation: ConversationId,
): Promise<{ readonly members: string[]; readonly keys: string[] }> {
  const { outbox, ...names } = conversationKeys(conversation);
  const members = new Set<string>();
  const stream = truth.zscanStream(outbox, { match: `${conversation} *`, count: pageSize });
  for await (const page of stream) {
    for (const member of (page as string[]).filter((_, index) => index % 2 === 0)) {
      members.add(member);
    }
  }
  const keys = [...members].map((member) => {
    const [, turn = "", attempt = ""] = member.split(" ");
    return names.reply({ turn: turnId(turn), attempt: Number(attempt) });
  });
  return { members: [...members], keys };
}

/** What may have come since the names were looked up. */
async function newestKeys(stores: Stores, conversation: ConversationId): Promise<string[]> {
  const { records, truth } = stores;
  const keys = conversationKeys(conversation);
  const turns: TurnKey[] = [];
  const kind = valueKind(keys.turns, null);
  for (const value of await truth.lrangeBuffer(keys.turns, 0, -1)) {
    const past = await undamaged(truth, () => decodePastTurn(openValue(value, kind, records)));
    if (past !== null) turns.push(past);
  }
  for (const entry of await truth.lrange(keys.mailbox, 0, -1)) {
    const [, turn = "", attempt = ""] = /^\d+ (\d+) (\d+) /.exec(entry) ?? [];
    if (turn !== "") turns.push({ turn: turnId(turn), attempt: Number(attempt) });
  }
  const ofTurns = turns.flatMap((key) => [
    keys.reply(key),
    keys.delivery(key),
    keys.known(key.turn),
  ]);
  return [keys.meta, keys.mailbox, keys.log, keys.turns, keys.last, ...ofTurns];
}

type RawCopy = Awaited<ReturnType<ScriptedRedis["copyConversationBuffer"]>>;

async function openKeys(
  { records, truth }: Stores,
  keys: readonly string[],
  raw: RawCopy,
): Promise<{ readonly copied: CopiedKey[]; readonly damaged: boolean }> {
  let damaged = false;
  const copied: CopiedKey[] = [];
  for (const [index, [kind, life, values]] of raw.entries()) {
    const key = keys[index] ?? "";
    const type = kind.toString();
    const name = truthKeyParts(key)?.name ?? "";
    if (type !== "string" && type !== "list" && type !== "hash") continue;
    const opened: string[] = [];
    for (const [at, value] of values.entries()) {
      const field = type === "hash" ? (values[at - 1]?.toString() ?? "") : null;
      const isField = type === "hash" && at % 2 === 0;
      const plain = isField
        ? value
        : await undamaged(truth, () => openOne(value, valueKind(key, field), records));
      damaged ||= plain === null;
      opened.push((plain ?? Buffer.alloc(0)).toString("base64"));
    }
    const expiresAtMs = life >= 0 ? Date.now() + life : null;
    copied.push({ name, type, expiresAtMs, values: opened });
  }
  return { copied, damaged };
}

/** A person's place on the log is read, too: a restore has to name it anew. */
function openOne(value: Buffer, kind: ReturnType<typeof valueKind>, records: Records): Buffer {
  const plain = openValue(value, kind, records);
  if (kind?.place.kind === "first turn") decodeSpeaker(plain);
  return plain;
}

/** The heads on the copied log, and whether it reaches back to its beginning. */
async function logOf(
  truth: ScriptedRedis,
  { keys }: Copy,
): Promise<{ readonly heads: Set<string>; readonly whole: boolean }> {
  const valuesOf = (name: string): Buffer[] =>
    (keys.find((key) => key.name === name)?.values ?? []).map((one) => Buffer.from(one, "base64"));
  const meta = valuesOf("meta").map(String);
  const logHead = meta[meta.indexOf("logHead") + 1] ?? "0:0:0";
  const head = parseLogHead(meta.includes("logHead") ? logHead : "0:0:0");
  const blocks = (await undamaged(truth, () => decodeLog(valuesOf("log"), head))) ?? [];
  const heads = new Set([head, ...blocks.map(({ start }) => start)].map(formatLogHead));
  return { heads, whole: head.tokens === 0 || blocks[0]?.start.tokens === 0 };
}

async function statesOn(
  { records, state, truth }: Stores,
  conversation: ConversationId,
  heads: ReadonlySet<string>,
): Promise<(readonly [string, Buffer])[]> {
  const snapshots = new SnapshotStore(state, records);
  const states: (readonly [string, Buffer])[] = [];
  for (const logHead of await snapshots.present(conversation)) {
    if (!heads.has(logHead)) continue;
    const packed = await undamaged(truth, async () => snapshots.read(conversation, logHead));
    if (packed !== null) states.push([logHead, packed]);
  }
  return states;
}
