/** Deleting and exporting: what is left is looked for in everything that both servers hold. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { requestStop } from "#infra/control/control.ts";
import { OpenReplies, openReplyOf } from "#infra/discord/open-replies.ts";
import { PendingForks } from "#infra/discord/pending-forks.ts";
import { bucketOf, conversationKeys } from "#infra/redis/keys.ts";
import { communityId, type ConversationId, conversationId, type Turn } from "#infra/turn/index.ts";
import { answerWakes } from "#infra/wake/wake.ts";
import { aConversation, aTurn } from "../turns.ts";
import { everything, Workshop } from "./workshop.ts";

const conversation = conversationId("discord-31415926535897932");
const neighbour = neighbourOf(conversation);
let workshop: Workshop;

beforeAll(async () => {
  workshop = await Workshop.open();
});

afterAll(async () => workshop.close());

beforeEach(async () => workshop.empty());

/** Another conversation of the same bucket whose name begins with this one's. */
function neighbourOf(id: ConversationId): ConversationId {
  for (let digit = 0; ; digit++) {
    const other = conversationId(`${id}${digit}`);
    if (bucketOf(other) === bucketOf(id)) return other;
  }
}

function question(id: number, of: ConversationId): Partial<Turn> & { id: Turn["id"] } {
  const messageId = String(id);
  const origin = { kind: "discord-message", channelId: of.slice(8), messageId } as const;
  return { ...aTurn(id), conversation: of, text: `the words of ${id}`, origin };
}

/** A conversation that has left everything behind that can be left behind. */
async function live(of: ConversationId, firstId: number): Promise<void> {
  for (let id = firstId; id < firstId + 4; id++) {
    await workshop.exchange(of, id, { turn: question(id, of) });
    await workshop.snapshot(of, await workshop.logHead(of));
  }
  const key = { turn: aTurn(firstId).id, attempt: 0 };
  await workshop.ledger.notePart(of, key, { index: 0, messageId: String(firstId + 700) });
  await workshop.ledger.markDelivered(of, key);
  await workshop.conversations.undo(of, 1);
  await workshop.exchange(of, firstId + 4, { turn: question(firstId + 4, of) });
  await workshop.conversations.regenerate(of, { turn: aTurn(firstId + 4).id, attempt: 0 });
  const waiting = aTurn(firstId + 9, question(firstId + 9, of));
  await workshop.mailbox.append(waiting);
  await requestStop(workshop.truth, of, { turn: waiting.id, attempt: 0 });
  await new OpenReplies(workshop.truth, "42").save(openReplyOf(waiting));
  await new PendingForks(workshop.truth, "42").save({
    operation: `9${firstId}`,
    source: of,
    channelId: "1",
    title: "aside",
    locale: "en-US",
    anchorId: null,
  });
  const wake = { conversation: of, headTurnId: waiting.id, model: "eaglet", traceId: waiting.id };
  await workshop.bell.ring(wake);
  await workshop.bell.ring(wake);
  await workshop.mailbox.claim(of, "somebody");
}

/** Lines that speak of the conversation or one of its turns, of both servers. */
async function traces(of: ConversationId, firstId: number): Promise<string[]> {
  const lines = [...(await everything(workshop.truth)), ...(await everything(workshop.state))];
  const ids = Array.from({ length: 10 }, (_, index) => String(firstId + index));
  // The neighbour's lines hold this one's name as a part of its own.
  const name = new RegExp(`${of}(?![0-9])`);
  return lines.filter((line) => name.test(line) || ids.some((id) => line.includes(id)));
}

/** What an export shows, without the seconds that pass and the lease that runs out with them. */
async function valuesOf(of: ConversationId): Promise<unknown> {
  const { state, truth, waits, undelivered, inProgress } = await workshop.conversations.export(of);
  const all = Object.entries({ ...truth, ...state }).filter(([key]) => key !== "lease");
  const values = all.map(([key, { value }]) => [key, value]);
  return { values, waits, undelivered, inProgress };
}

describe("delete", () => {
  test("leaves nothing of the conversation in either Redis, and its neighbour whole", async () => {
    await live(conversation, 31_000_000);
    await live(neighbour, 57_000_000);
    expect((await traces(conversation, 31_000_000)).length).toBeGreaterThan(20);
    const before = await valuesOf(neighbour);
    expect(await workshop.conversations.delete(conversation)).toBeGreaterThan(10);
    expect(await traces(conversation, 31_000_000)).toEqual([]);
    expect(await valuesOf(neighbour)).toEqual(before);
    expect(await workshop.conversations.delete(conversation)).toBe(0);
  });

  test("a worker that runs a turn of it brings nothing back", async () => {
    await live(conversation, 31_000_000);
    await workshop.truth.del(conversationKeys(conversation).lease);
    const claim = await workshop.claim(conversation);
    await workshop.conversations.delete(conversation);
    const key = { turn: claim.head.id, attempt: claim.head.attempt };
    expect(await workshop.commit(claim, [1, 2])).toEqual({ kind: "lease-lost" });
    expect(await workshop.mailbox.renew(claim)).toBe(false);
    expect(await workshop.mailbox.release(claim, { forgive: true })).toBeNull();
    expect(await workshop.mailbox.hold(conversation, claim.logHead)).toBeNull();
    await workshop.ledger.notePart(conversation, key, { index: 0, messageId: "1" });
    await workshop.ledger.markDelivered(conversation, key);
    // A snapshot that was on its way is never confirmed.
    await workshop.snapshots.write(conversation, claim.logHead, Buffer.from("late"));
    for (const name of await workshop.state.keys("*")) {
      expect(await workshop.state.ttl(name)).toBeGreaterThan(0);
    }
    await workshop.state.flushall();
    expect(await traces(conversation, 31_000_000)).toEqual([]);
  });

  test("a message that comes while the keys are looked up is deleted whole or begins anew", async () => {
    await live(conversation, 31_000_000);
    const { truth } = workshop;
    const original = truth.deleteConversation.bind(truth);
    const late = aTurn(31_000_005, question(31_000_005, conversation));
    let calls = 0;
    truth.deleteConversation = async (...args) => {
      calls++;
      if (calls === 1) await workshop.mailbox.append(late);
      const deleted = await original(...args);
      if (calls === 2) await workshop.mailbox.append(aTurn(88_000_001, { conversation }));
      return deleted;
    };
    try {
      await workshop.conversations.delete(conversation);
    } finally {
      truth.deleteConversation = original;
    }
    expect(await traces(conversation, 31_000_000)).toHaveLength(
      (await everything(truth)).filter((line) => line.includes(conversation)).length,
    );
    expect((await workshop.mailbox.waiting(conversation)).map(({ id }) => id)).toEqual([
      "88000001",
    ]);
    expect((await everything(truth)).filter((line) => line.includes("31000005"))).toEqual([]);
    expect(await workshop.claim(conversation)).toMatchObject({ seq: 1, logHead: "0:0:0" });
  });

  test("a wake that is being answered ends without a trace", async () => {
    await workshop.mailbox.append(aTurn(31_000_000, question(31_000_000, conversation)));
    const { promise: answering, resolve: answered } = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    const worker = await answerWakes(
      workshop.truth,
      { model: "eaglet", concurrency: 1 },
      async () => {
        started.resolve();
        await answering;
      },
    );
    const wake = { conversation, headTurnId: "31000000", model: "eaglet", traceId: "31000000" };
    await workshop.bell.ring(wake);
    await started.promise;
    await workshop.bell.ring(wake);
    await workshop.conversations.delete(conversation);
    answered();
    await expect.poll(async () => traces(conversation, 31_000_000)).toEqual([]);
    await worker.close();
  });
});

/** As if its last turn had come so long ago. */
async function age(of: ConversationId, ms: number): Promise<void> {
  await workshop.truth.zincrby(conversationKeys(of).active, -ms, of);
}

describe("conversations that nobody uses", () => {
  const dayMs = 24 * 3600_000;

  test("are deleted after the time that the operator sets, others stay", async () => {
    await live(conversation, 31_000_000);
    await live(neighbour, 57_000_000);
    await age(conversation, 31 * dayMs);
    await age(neighbour, 29 * dayMs);
    expect(await workshop.conversations.deleteIdle(30 * dayMs)).toBe(1);
    expect(await traces(conversation, 31_000_000)).toEqual([]);
    expect(await workshop.history.turns(neighbour)).toHaveLength(3);
    expect(await workshop.conversations.deleteIdle(30 * dayMs)).toBe(0);
  });

  test("a turn that is asked for again counts as used", async () => {
    await workshop.exchange(conversation, 31_000_000);
    await age(conversation, 31 * dayMs);
    const key = { turn: aTurn(31_000_000).id, attempt: 0 };
    await workshop.conversations.regenerate(conversation, key);
    expect(await workshop.conversations.deleteIdle(30 * dayMs)).toBe(0);
    expect(await workshop.mailbox.waiting(conversation)).toHaveLength(1);
  });

  test("a turn that comes while one is looked at saves it", async () => {
    await workshop.exchange(conversation, 31_000_000);
    await age(conversation, 31 * dayMs);
    const { truth } = workshop;
    const original = truth.deleteConversation.bind(truth);
    truth.deleteConversation = async (...args) => {
      await workshop.mailbox.append(aTurn(31_000_001, { conversation }));
      return original(...args);
    };
    try {
      expect(await workshop.conversations.deleteIdle(30 * dayMs)).toBe(0);
    } finally {
      truth.deleteConversation = original;
    }
    expect(await workshop.tokens(conversation)).toEqual([31_000_000, 31_000_001]);
    expect(await workshop.mailbox.waiting(conversation)).toHaveLength(1);
  });

  test("those of a community are found, forks and threads too, and no others", async () => {
    const community = communityId("777");
    const fork = aConversation("fork");
    await workshop.exchange(conversation, 1, { turn: { community } });
    await workshop.exchange(neighbour, 2, { turn: { community: communityId("778") } });
    await workshop.exchange(aConversation("alone"), 3);
    await workshop.conversations.fork(conversation, fork);
    const found: ConversationId[] = [];
    for await (const one of workshop.conversations.ofCommunity(community)) found.push(one);
    expect(new Set(found)).toEqual(new Set([conversation, fork]));
  });
});

describe("export", () => {
  test("names every key that is stored, and shows every record as it was written", async () => {
    await live(conversation, 31_000_000);
    await live(neighbour, 57_000_000);
    const exported = await workshop.conversations.export(conversation);
    const text = JSON.stringify(exported);
    expect(JSON.parse(text)).toEqual(exported);

    const { meta } = conversationKeys(conversation);
    const prefix = meta.replace(/meta$/, "");
    const own = (await workshop.truth.keys(`${prefix}*`)).map((key) => key.slice(prefix.length));
    expect(Object.keys(exported.truth).sort()).toEqual(own.sort());
    expect(Object.keys(exported.state)).toHaveLength(
      (await workshop.state.keys(`*{${conversation}}*`)).length,
    );
    expect(text).not.toContain(neighbour);

    const { truth } = exported;
    expect(truth["log"]?.value).toEqual([
      { from: "0:0:0", to: expect.stringMatching(/^0:2:/), tokens: [31_000_000, 31_000_001] },
      { from: expect.any(String), to: expect.any(String), tokens: [31_000_001, 31_000_002] },
      { from: expect.any(String), to: expect.any(String), tokens: [31_000_002, 31_000_003] },
    ]);
    expect(truth["mailbox"]?.value).toMatchObject([
      { record: { text: "the words of 31000004", attempt: 1 } },
      { record: { text: "the words of 31000009", attempt: 0 } },
    ]);
    expect(truth["reply:31000000:0"]?.value).toMatchObject({
      text: "reply to the words of 31000000",
    });
    expect(truth["reply:31000000:0"]?.expiresInSeconds).toBeGreaterThan(29 * 86_400);
    expect(truth["delivery:31000000:0"]?.value).toEqual({ 0: "31000700" });
    expect(exported).toMatchObject({
      waits: true,
      inProgress: [{ conversation }, { source: conversation }],
    });
    expect(exported.undelivered).toHaveLength(3);
  });

  test("tells what is rotten", async () => {
    await live(conversation, 31_000_000);
    const key = conversationKeys(conversation).reply({ turn: aTurn(31_000_000).id, attempt: 0 });
    const record = (await workshop.truth.get(key)) ?? "";
    await workshop.truth.set(key, record.replace("the words", "my  words"));
    const exported = await workshop.conversations.export(conversation);
    expect(exported.truth["reply:31000000:0"]?.value).toEqual({ damaged: "checksum" });
  });

  test("of nothing is empty", async () => {
    expect(await workshop.conversations.export(conversation)).toMatchObject({
      truth: {},
      state: {},
      waits: false,
    });
  });
});
