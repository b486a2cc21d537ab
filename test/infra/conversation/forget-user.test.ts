/** One person leaves a conversation: what is left of them is looked for in everything stored. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { backUp } from "#infra/conversation/backup.ts";
import { restore } from "#infra/conversation/restore.ts";
import { rotate } from "#infra/conversation/rotation.ts";
import { requestStop } from "#infra/control/control.ts";
import { OpenReplies, openReplyOf } from "#infra/discord/open-replies.ts";
import { PendingForks } from "#infra/discord/pending-forks.ts";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { speakerPlace } from "#infra/redis/places.ts";
import { plainRecords, Records } from "#infra/redis/records.ts";
import { conversationId, type Turn, userId } from "#infra/turn/index.ts";
import { aConversation, aTurn } from "../turns.ts";
import { everything, Workshop } from "./workshop.ts";

const conversation = conversationId("discord-16180339887498948");
const ada = userId("1000000000000000001");
const bob = userId("1000000000000000002");
let shop: Workshop;

beforeAll(async () => {
  shop = await Workshop.open();
});

afterAll(async () => shop.close());

beforeEach(async () => shop.empty());

/** A turn's id tells whose it is: Ada's begin with 7, Bob's with 8. */
function said(id: number, by: typeof ada, of = conversation): Partial<Turn> & { id: Turn["id"] } {
  const messageId = String(id);
  const origin = { kind: "discord-message", channelId: of.slice(8), messageId } as const;
  return { ...aTurn(id), conversation: of, author: by, text: `the words of ${id}`, origin };
}

async function speak(id: number, of = conversation, workshop = shop): Promise<void> {
  const by = String(id).startsWith("7") ? ada : bob;
  await workshop.exchange(of, id, { tokens: [id, id + 1], turn: said(id, by, of) });
  await workshop.snapshot(of, await workshop.logHead(of));
}

/** Lines of both servers with Ada's id or one of her turns in them. */
async function tracesOfAda(): Promise<string[]> {
  const lines = [...(await everything(shop.truth)), ...(await everything(shop.state))];
  return lines.filter((line) => line.includes(ada) || /(?<!\d)700000[09]\d(?!\d)/.test(line));
}

/** She has left everything behind that one can leave behind. */
async function leaveAllBehind(): Promise<void> {
  const key = { turn: aTurn(70_000_002).id, attempt: 0 };
  await shop.ledger.notePart(conversation, key, { index: 0, messageId: "70000092" });
  await shop.conversations.undo(conversation, 1);
  await speak(70_000_003);
  await shop.conversations.regenerate(conversation, { turn: aTurn(70_000_003).id, attempt: 0 });
  await shop.commit(await shop.claim(conversation), [3, 4]);
  const waiting = aTurn(70_000_004, said(70_000_004, ada));
  await shop.mailbox.append(waiting);
  await shop.mailbox.append(aTurn(80_000_009, said(80_000_009, bob)));
  await requestStop(shop.truth, conversation, { turn: waiting.id, attempt: 0 });
  await new OpenReplies(shop.truth, "42").save(openReplyOf(waiting));
  const fork = { operation: "70000099", source: conversation, channelId: "1", title: "t" };
  await new PendingForks(shop.truth, "42").save({
    ...fork,
    locale: "en-US",
    anchorId: null,
    author: ada,
  });
  const wake = { conversation, headTurnId: waiting.id, model: "eaglet", traceId: waiting.id };
  await shop.bell.ring(wake);
  await shop.mailbox.claim(conversation, "somebody");
}

test("rolls back to before their first turn and leaves nothing of them", async () => {
  for (const id of [80_000_001, 80_000_002, 70_000_001, 80_000_003, 70_000_002]) await speak(id);
  await leaveAllBehind();
  expect((await tracesOfAda()).length).toBeGreaterThan(15);
  expect(await shop.conversations.forgetUser(conversation, ada)).toEqual({
    kind: "rolled-back",
    turns: 3,
  });
  expect(await tracesOfAda()).toEqual([]);
  expect(await shop.tokens(conversation)).toEqual([80_000_001, 80_000_002, 80_000_002, 80_000_003]);
  expect(await shop.snapshots.heads(conversation)).toHaveLength(2);
  expect((await shop.history.turns(conversation)).map(({ author }) => author)).toEqual([bob, bob]);
  expect((await shop.mailbox.waiting(conversation)).map(({ id }) => id)).toEqual(["80000009"]);
  const reply = await shop.ledger.reply(conversation, { turn: aTurn(80_000_003).id, attempt: 0 });
  expect(reply?.author).toBe(bob);
  // It goes on, and asking again finds nothing.
  await shop.commit(await shop.claim(conversation), [5]);
  expect(await shop.conversations.forgetUser(conversation, ada)).toEqual({ kind: "nothing" });
  expect(await shop.tokens(conversation)).toHaveLength(5);
});

describe("forgets everything where going back is not possible", () => {
  test("their first turn is older than the turns that can be taken back", async () => {
    await speak(70_000_001);
    for (let id = 80_000_001; id <= 80_000_012; id++) await speak(id);
    expect(await shop.conversations.forgetUser(conversation, ada)).toEqual({ kind: "reset" });
    expect(await shop.logHead(conversation)).toBe("1:0:0");
    expect(await tracesOfAda()).toEqual([]);
    expect(await everything(shop.state)).toEqual([]);
  });

  test("also when they speak again within those", async () => {
    await speak(70_000_001);
    for (let id = 80_000_001; id <= 80_000_012; id++) await speak(id);
    await speak(70_000_002);
    expect(await shop.conversations.forgetUser(conversation, ada)).toEqual({ kind: "reset" });
    expect(await tracesOfAda()).toEqual([]);
  });

  test("no kept snapshot leads there, because the log is trimmed and they are lost", async () => {
    for (const id of [80_000_001, 80_000_002, 70_000_001]) await speak(id);
    const head = await shop.logHead(conversation);
    const hold = await shop.mailbox.hold(conversation, head);
    const blocks = await shop.ledger.log(conversation, await shop.ledger.logHead(conversation));
    const to = blocks?.[0]?.end;
    if (hold === null || to === undefined) throw new Error("no log");
    expect(await shop.ledger.trim(hold, { from: hold.logStart, to }, 1)).toBe(true);
    const twin = aConversation("twin");
    await shop.conversations.fork(conversation, twin);
    expect(await shop.conversations.forgetUser(twin, ada)).toEqual({
      kind: "rolled-back",
      turns: 1,
    });
    await shop.snapshots.dropAll(conversation);
    expect(await shop.conversations.forgetUser(conversation, ada)).toEqual({ kind: "reset" });
    expect(await tracesOfAda()).toEqual([]);
  });
});

/** The last bit of a value is another one. */
function flipped(value: Buffer | null | undefined): Buffer {
  const bytes = Buffer.from(value ?? Buffer.of(0));
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return bytes;
}

describe("where rot hides what is theirs, it is forgotten with the rest", () => {
  const keys = conversationKeys(conversation);
  const reset = { kind: "reset" };
  const ring = new Records(KeyRing.parse(newKey()));

  test.each([
    ["in clear", plainRecords],
    ["sealed", ring],
  ])("their place on the log, their turns older than ten: %s", async (_, records) => {
    const workshop = shop.with(records);
    await speak(70_000_001, conversation, workshop);
    for (let id = 80_000_001; id <= 80_000_012; id++) await speak(id, conversation, workshop);
    const places = new Map<string, Buffer>();
    for (const [field, value] of Object.entries(await shop.truth.hgetallBuffer(keys.meta))) {
      if (field.startsWith("first ")) places.set(field, value);
    }
    const field = records.namesOf(ada, speakerPlace(conversation)).map((name) => `first ${name}`);
    const [theirs = ""] = field.filter((one) => places.has(one));
    await shop.truth.hset(keys.meta, theirs, flipped(places.get(theirs)));
    const eve = userId("1000000000000000003");
    expect(await workshop.conversations.forgetUser(conversation, eve)).toEqual({ kind: "nothing" });
    // Nothing else is left that would tell where she spoke.
    await shop.truth.del(keys.reply({ turn: aTurn(70_000_001).id, attempt: 0 }));
    const found = [];
    for await (const one of workshop.conversations.ofUser(ada)) found.push(one);
    expect(found).toEqual([conversation]);
    expect(await workshop.conversations.forgetUser(conversation, ada)).toEqual(reset);
    expect(await workshop.tokens(conversation)).toEqual([]);
    const left = await shop.truth.hkeys(keys.meta);
    expect(left.filter((one) => one.startsWith("first "))).toEqual([]);
  });

  test.each([
    ["a turn that could be taken back", keys.turns],
    ["a block of the log", keys.log],
  ])("%s", async (_, key) => {
    for (const id of [80_000_001, 70_000_001, 80_000_002]) await speak(id);
    await shop.truth.lset(key, 0, flipped(await shop.truth.lindexBuffer(key, 0)));
    expect(await shop.conversations.forgetUser(conversation, ada)).toEqual(reset);
    expect(await tracesOfAda()).toEqual([]);
    await speak(80_000_003);
    expect(await shop.tokens(conversation)).toHaveLength(2);
  });

  test("a turn that waits, and the last one", async () => {
    await speak(70_000_001);
    await shop.mailbox.append(aTurn(70_000_002, said(70_000_002, ada)));
    await shop.mailbox.append(aTurn(80_000_001, said(80_000_001, bob)));
    await shop.truth.lset(keys.mailbox, 0, flipped(await shop.truth.lindexBuffer(keys.mailbox, 0)));
    await shop.truth.set(keys.last, flipped(await shop.truth.getBuffer(keys.last)));
    await shop.conversations.forgetUser(conversation, ada);
    expect(await tracesOfAda()).toEqual([]);
    expect((await shop.mailbox.waiting(conversation)).map(({ id }) => id)).toEqual(["80000001"]);
  });
});

test("who spoke before a fork is remembered on both sides", async () => {
  await speak(70_000_001);
  for (let id = 80_000_001; id <= 80_000_011; id++) await speak(id);
  const fork = conversationId("discord-14142135623730950");
  await shop.conversations.fork(conversation, fork);
  for (let id = 80_000_021; id <= 80_000_023; id++) await speak(id, fork);
  const found = [];
  for await (const one of shop.conversations.ofUser(ada)) found.push(one);
  expect(found.sort()).toEqual([conversation, fork].sort());
  expect(await shop.conversations.forgetUser(fork, ada)).toEqual({ kind: "reset" });
  expect(await shop.conversations.forgetUser(conversation, ada)).toEqual({ kind: "reset" });
  expect(await tracesOfAda()).toEqual([]);
});

test("what was undone or failed is forgotten without touching the state", async () => {
  await speak(80_000_001);
  await speak(70_000_001);
  await shop.conversations.undo(conversation, 1);
  await shop.exchange(conversation, 70_000_002, { tokens: [], turn: said(70_000_002, ada) });
  expect((await tracesOfAda()).length).toBeGreaterThan(2);
  expect(await shop.conversations.forgetUser(conversation, ada)).toEqual({ kind: "records" });
  expect(await tracesOfAda()).toEqual([]);
  expect(await shop.tokens(conversation)).toEqual([80_000_001, 80_000_002]);
});

test("what their reply had drawn when its worker left goes with their turn", async () => {
  await speak(80_000_001);
  await shop.mailbox.append(aTurn(70_000_001, said(70_000_001, ada)));
  const claim = await shop.claim(conversation);
  await shop.mailbox.handOver(claim, { fingerprint: "f", tokens: [1, 2] });
  await shop.conversations.forgetUser(conversation, ada);
  expect(await shop.truth.exists(conversationKeys(conversation).partial)).toBe(0);
  expect(await tracesOfAda()).toEqual([]);
});

test("a worker at one of their turns commits nothing, and nothing of it stays", async () => {
  await speak(80_000_001);
  await shop.mailbox.append(aTurn(70_000_001, said(70_000_001, ada)));
  const claim = await shop.claim(conversation);
  await shop.conversations.forgetUser(conversation, ada);
  expect(await shop.commit(claim, [1, 2])).toEqual({ kind: "lease-lost" });
  expect(await tracesOfAda()).toEqual([]);
});

test.each([
  ["the records were deleted", "rewindConversation"],
  ["the log was rolled back", "zrem"],
] as const)("stopped when %s, the next run ends it", async (_, call) => {
  for (const id of [80_000_001, 80_000_002, 70_000_001, 80_000_003, 70_000_002]) await speak(id);
  await leaveAllBehind();
  const redis = call === "zrem" ? shop.state : shop.truth;
  const original = redis[call];
  redis[call] = () => Promise.reject(new Error("killed"));
  try {
    await expect(shop.conversations.forgetUser(conversation, ada)).rejects.toThrow("killed");
  } finally {
    redis[call] = original as never;
  }
  await shop.conversations.forgetUser(conversation, ada);
  expect(await tracesOfAda()).toEqual([]);
  expect(await shop.snapshots.heads(conversation)).toHaveLength(2);
  expect(await shop.tokens(conversation)).toHaveLength(4);
});

test.each(["keys rotate", "fork", "restore"])(
  "who spoke under the old key and under the new one is followed to their first turn: %s",
  async (road) => {
    const [one, two] = [newKey(), newKey()];
    const before = shop.with(new Records(KeyRing.parse(one)));
    const after = shop.with(new Records(KeyRing.parse(`${two},${one}`)));
    await speak(70_000_001, conversation, before);
    for (let id = 80_000_001; id <= 80_000_012; id++) await speak(id, conversation, before);
    await speak(70_000_002, conversation, after);
    let of = conversation;
    if (road === "keys rotate") await rotate(after);
    if (road === "fork") {
      of = conversationId("discord-14142135623730950");
      await after.conversations.fork(conversation, of);
    }
    if (road === "restore") {
      const file = join(mkdtempSync(join(tmpdir(), "eyrie-forget-")), "backup");
      await backUp(after, file);
      await shop.empty();
      await restore(after, file);
      rmSync(dirname(file), { recursive: true });
    }
    const fields = await shop.truth.hkeys(conversationKeys(of).meta);
    expect(fields.filter((field) => field.startsWith("first "))).toHaveLength(2);
    expect(await after.conversations.forgetUser(of, ada)).toEqual({ kind: "reset" });
    expect(await after.tokens(of)).toEqual([]);
  },
);

test("sealed, it is found and forgotten all the same, after a change of keys too", async () => {
  const [one, two] = [newKey(), newKey()];
  const before = shop.with(new Records(KeyRing.parse(one)));
  const after = shop.with(new Records(KeyRing.parse(`${two},${one}`)));
  for (const id of [80_000_001, 70_000_001]) await speak(id, conversation, before);
  for (const id of [80_000_002, 70_000_002]) await speak(id, conversation, after);
  const meta = await shop.truth.hkeys(conversationKeys(conversation).meta);
  expect(meta.filter((field) => field.includes(ada))).toEqual([]);
  expect(meta.filter((field) => field.startsWith("first "))).toHaveLength(4);
  const found = [];
  for await (const name of after.conversations.ofUser(ada)) found.push(name);
  expect(found).toEqual([conversation]);
  expect(await after.conversations.forgetUser(conversation, ada)).toEqual({
    kind: "rolled-back",
    turns: 3,
  });
  expect(await after.tokens(conversation)).toEqual([80_000_001, 80_000_002]);
  expect(await tracesOfAda()).toEqual([]);
  const left = await shop.truth.hkeys(conversationKeys(conversation).meta);
  expect(left.filter((field) => field.startsWith("first "))).toHaveLength(1);
});
