/** A fork: both sides whole, independent, and the two steps safe to cut anywhere and to repeat. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { undoTurnsMax } from "#infra/ledger/past-turn.ts";
import { parseLogHead } from "#infra/ledger/tokenlog.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { unconfirmedSeconds } from "#infra/snapshot/snapshot.ts";
import { conversationId } from "#infra/turn/index.ts";
import { aConversation, aTurn } from "../turns.ts";
import { everything, Workshop } from "./workshop.ts";

const source = aConversation("source");
/** In another bucket than the source, so no script could touch both. */
const target = conversationId("discord-1234567890123456789");
let workshop: Workshop;

beforeAll(async () => {
  workshop = await Workshop.open();
  expect(conversationKeys(target).meta.split(":")[1]).not.toBe(
    conversationKeys(source).meta.split(":")[1],
  );
});

afterAll(async () => workshop.close());

beforeEach(async () => workshop.empty());

/** 14 turns, snapshots after some of them, and the log trimmed to the oldest of these. */
async function grow(): Promise<string> {
  for (let id = 1; id <= 14; id++) {
    await workshop.exchange(source, 10 * id);
    if ([3, 9, 12].includes(id)) await workshop.snapshot(source, await workshop.logHead(source));
  }
  await workshop.mailbox.append(aTurn(500, { conversation: source }));
  const claim = await workshop.claim(source);
  const [, , third] = (await workshop.ledger.log(source, parseLogHead(claim.logHead))) ?? [];
  if (third === undefined) throw new Error("too short");
  await workshop.ledger.trim(claim, { from: claim.logStart, to: third.end }, 3);
  await workshop.commit(claim, [500]);
  return workshop.logHead(source);
}

test("remembers what the source remembers, and goes its own way", async () => {
  const head = await grow();
  expect(await workshop.conversations.fork(source, target)).toEqual({ kind: "forked" });
  expect(await workshop.logHead(target)).toBe(head);
  expect(await workshop.tokens(target)).toEqual(await workshop.tokens(source));
  expect(await workshop.snapshots.heads(target)).toEqual(await workshop.snapshots.heads(source));

  await workshop.exchange(target, 900);
  await workshop.conversations.undo(target, 3);
  expect(await workshop.logHead(source)).toBe(head);
  const kept = await workshop.tokens(target);
  await workshop.exchange(source, 901);
  await workshop.conversations.undo(source, undoTurnsMax);
  await workshop.conversations.reset(source);
  await workshop.conversations.delete(source);
  expect(await workshop.tokens(target)).toEqual(kept);
  expect(await workshop.snapshots.heads(target)).toHaveLength(3);
});

test("takes as little from a conversation of any length: the kept log, not its history", async () => {
  await grow();
  await workshop.conversations.fork(source, target);
  // The first three of fifteen turns are known by a snapshot alone, on both sides.
  expect(await workshop.truth.llen(conversationKeys(target).log)).toBe(12);
});

test("turns from before the fork can be taken back in it", async () => {
  await grow();
  await workshop.conversations.fork(source, target);
  const rewound = await workshop.conversations.undo(target, undoTurnsMax);
  expect(rewound?.turns).toHaveLength(undoTurnsMax);
  expect(await workshop.conversations.undo(source, 1)).not.toBeNull();
});

test("ordered once is done once, however late the order comes again", async () => {
  await grow();
  await workshop.conversations.fork(source, target, "order");
  await workshop.exchange(target, 900);
  await workshop.exchange(source, 901);
  const before = [await everything(workshop.truth), await everything(workshop.state)];
  expect(await workshop.conversations.fork(source, target, "order")).toEqual({ kind: "forked" });
  expect([await everything(workshop.truth), await everything(workshop.state)]).toEqual(before);
});

/** The fork ends when its snapshots are copied and its log is not there. */
async function killedBeforePlanting(): Promise<void> {
  const { truth } = workshop;
  const plant = truth.plantConversation.bind(truth);
  truth.plantConversation = async () => {
    throw new Error("killed here");
  };
  try {
    await expect(workshop.conversations.fork(source, target, "order")).rejects.toThrow("killed");
  } finally {
    truth.plantConversation = plant;
  }
}

test("cut between its steps leaves nothing that is ever read, and repeats to the end", async () => {
  await grow();
  await killedBeforePlanting();
  expect(await workshop.truth.keys(`*${target}*`)).toEqual([]);
  // The source has gone on in between: the fork begins where it is now.
  await workshop.exchange(source, 600);
  expect(await workshop.conversations.fork(source, target, "order")).toEqual({ kind: "forked" });
  expect(await workshop.logHead(target)).toBe(await workshop.logHead(source));
});

test("cut between its steps, and of a source that is deleted then: nothing of it stays", async () => {
  await grow();
  const { state } = workshop;
  await killedBeforePlanting();
  await workshop.conversations.delete(source);
  expect(await workshop.conversations.fork(source, target, "order")).toEqual({ kind: "empty" });
  const left = await state.keys(`*${target}*`);
  expect(left).toHaveLength(4);
  for (const key of left) {
    expect(await state.ttl(key)).toBeGreaterThan(0);
    expect(await state.ttl(key)).toBeLessThanOrEqual(unconfirmedSeconds);
  }
});

test("cut off before its snapshots were made to stay, it makes them stay when it is repeated", async () => {
  await grow();
  const { state } = workshop;
  await workshop.conversations.fork(source, target, "order");
  const keys = await state.keys(`*${target}*`);
  expect(keys).toHaveLength(4);
  for (const key of keys) expect(await state.ttl(key)).toBe(-1);
  for (const key of keys) await state.expire(key, unconfirmedSeconds);
  expect(await workshop.conversations.fork(source, target, "order")).toEqual({ kind: "forked" });
  for (const key of keys) expect(await state.ttl(key)).toBe(-1);
});

test("looks again when the source's worker saves meanwhile: the fork can take back as much", async () => {
  await grow();
  const { truth } = workshop;
  const read = truth.readConversationBuffer.bind(truth);
  let reads = 0;
  truth.readConversationBuffer = async (...args) => {
    const standing = await read(...args);
    // Of the three snapshots only those remain that the log as it was read does not reach back to.
    if (++reads === 1) {
      const heads = await workshop.snapshots.heads(source);
      await workshop.exchange(source, 600);
      await workshop.snapshots.drop(source, heads.slice(2));
    } else if (reads === 2) {
      await workshop.snapshot(source, third);
    }
    return standing;
  };
  const third = (await workshop.snapshots.heads(source)).at(-1) ?? "";
  try {
    expect(await workshop.conversations.fork(source, target)).toEqual({ kind: "forked" });
  } finally {
    truth.readConversationBuffer = read;
  }
  expect(await workshop.logHead(target)).toBe(await workshop.logHead(source));
  expect(await workshop.snapshots.heads(target)).toContain(third);
});

test("never touches a conversation that is somebody else's", async () => {
  await grow();
  await workshop.exchange(target, 1);
  const before = [await workshop.tokens(target), await everything(workshop.state)];
  expect(await workshop.conversations.fork(source, target)).toEqual({ kind: "taken" });
  expect([await workshop.tokens(target), await everything(workshop.state)]).toEqual(before);
});

test("of nothing is refused", async () => {
  expect(await workshop.conversations.fork(source, target)).toEqual({ kind: "empty" });
  await workshop.exchange(source, 1);
  await workshop.conversations.reset(source);
  expect(await workshop.conversations.fork(source, target)).toEqual({ kind: "empty" });
});

test("does not hand rot on: RECORD_CORRUPT", async () => {
  await grow();
  const { log } = conversationKeys(source);
  const block = (await workshop.truth.lindexBuffer(log, 2)) ?? Buffer.alloc(0);
  block[6] = (block[6] ?? 0) ^ 4;
  await workshop.truth.lset(log, 2, block);
  await expect(workshop.conversations.fork(source, target)).rejects.toMatchObject({
    code: "RECORD_CORRUPT",
  });
  expect(await workshop.truth.keys(`*${target}*`)).toEqual([]);
});
