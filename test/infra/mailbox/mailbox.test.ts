import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { History } from "#infra/ledger/history.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { advance, parseLogHead } from "#infra/ledger/tokenlog.ts";
import { remainsOf } from "#infra/mailbox/damaged.ts";
import { type Claim, leaseMs, Mailbox, mailboxLengthMax } from "#infra/mailbox/mailbox.ts";
import { tokensOfPartial } from "#infra/mailbox/partial.ts";
import type { EyrieError } from "#infra/errors/error.ts";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import { conversationKeys, keysInUseKey } from "#infra/redis/keys.ts";
import { plainRecords, Records } from "#infra/redis/records.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { RedisServer } from "#test/redis/server.ts";
import { aConversation, aRecord, aTurn } from "../turns.ts";

let server: RedisServer;
let truth: ScriptedRedis;
let mailbox: Mailbox;
let ledger: Ledger;
const conversation = aConversation();

beforeAll(async () => {
  server = await RedisServer.start();
  truth = await server.client();
  mailbox = new Mailbox(truth);
  ledger = new Ledger(truth);
});

afterAll(async () => {
  truth.disconnect();
  await server.stop();
});

beforeEach(async () => {
  await truth.flushall();
});

async function claimed(worker = "w1"): Promise<Claim> {
  const outcome = await mailbox.claim(conversation, worker);
  if (outcome.kind !== "claimed") throw new Error(`not claimed: ${outcome.kind}`);
  return outcome.claim;
}

function flipped(bytes: Buffer, bit: number): Buffer {
  const rotten = Buffer.from(bytes);
  rotten[bit >> 3]! ^= 1 << (bit & 7);
  return rotten;
}

async function commit(claim: Claim, tokens: readonly number[] = [1, 2, 3]) {
  const startedFrom = parseLogHead(claim.logHead);
  return ledger.commit(claim, aRecord(claim), { startedFrom, tokens });
}

describe("append", () => {
  test("numbers turns without gaps and knows a turn that comes again", async () => {
    expect(await mailbox.append(aTurn(1))).toEqual({ kind: "appended", seq: 1, waiting: 1 });
    expect(await mailbox.append(aTurn(1))).toEqual({ kind: "known" });
    expect(await mailbox.append(aTurn(2))).toEqual({ kind: "appended", seq: 2, waiting: 2 });
    expect((await mailbox.waiting(conversation)).map(({ id }) => id)).toEqual(["1", "2"]);
  });

  test("still knows a turn that was answered", async () => {
    await mailbox.append(aTurn(1));
    await commit(await claimed());
    expect(await mailbox.append(aTurn(1))).toEqual({ kind: "known" });
  });

  test("refuses the newest when full, and takes it once there is room", async () => {
    for (let id = 1; id <= mailboxLengthMax; id++) await mailbox.append(aTurn(id));
    expect(await mailbox.append(aTurn(99))).toEqual({ kind: "full" });
    await commit(await claimed());
    expect((await mailbox.append(aTurn(99))).kind).toBe("appended");
  });

  test("a Redis out of memory refuses the turn whole, and takes it when there is room", async () => {
    await mailbox.append(aTurn(1));
    await truth.config("SET", "maxmemory", "1");
    expect(await mailbox.append(aTurn(2))).toEqual({ kind: "refused", reason: "OOM" });
    // What is in already is known, not refused.
    expect(await mailbox.append(aTurn(1))).toEqual({ kind: "known" });
    // What was admitted is still answered: that is how memory comes back.
    expect((await commit(await claimed())).kind).toBe("committed");
    await truth.config("SET", "maxmemory", "0");
    expect(await mailbox.waiting(conversation)).toEqual([]);
    expect((await mailbox.append(aTurn(2))).kind).toBe("appended");
  });

  test("keeps any text unchanged", async () => {
    const text = 'ünï 🪶 "quotes" \\n \' 1 2 3';
    await mailbox.append(aTurn(1, { text }));
    expect((await claimed()).head.text).toBe(text);
  });
});

describe("claim", () => {
  test("is empty without mail, and exclusive with it", async () => {
    expect(await mailbox.claim(conversation, "w1")).toEqual({ kind: "empty" });
    await mailbox.append(aTurn(1));
    const first = await claimed();
    const second = await mailbox.claim(conversation, "w2");
    expect(second.kind).toBe("leased");
    expect(await mailbox.renew(first)).toBe(true);
  });

  test("a lease that ran out is lost: a larger fence, no renewal, no commit", async () => {
    await mailbox.append(aTurn(1));
    const dead = await claimed("dead");
    await truth.pexpire(conversationKeys(conversation).lease, 1);
    await new Promise((done) => setTimeout(done, 5));
    const successor = await claimed("alive");
    expect(successor.fence).toBeGreaterThan(dead.fence);
    expect(successor.previousWorker).toBe("dead");
    expect(await mailbox.renew(dead)).toBe(false);
    expect(await commit(dead)).toEqual({ kind: "lease-lost" });
    expect(await mailbox.release(dead, { forgive: false })).toBeNull();
    expect((await commit(successor)).kind).toBe("committed");
  });

  test("counts claims of a head until it is committed or forgiven", async () => {
    await mailbox.append(aTurn(1));
    await mailbox.append(aTurn(2));
    const first = await claimed();
    expect(first.claims).toBe(1);
    await mailbox.release(first, { forgive: false });
    const second = await claimed();
    expect(second.claims).toBe(2);
    await mailbox.release(second, { forgive: true });
    const third = await claimed();
    // Forgiven is this claim, not those before it.
    expect(third.claims).toBe(2);
    await commit(third);
    await mailbox.release(third, { forgive: false });
    expect((await claimed()).claims).toBe(1);
  });

  test("the lease expires by itself", async () => {
    await mailbox.append(aTurn(1));
    await claimed();
    const msLeft = await truth.pttl(conversationKeys(conversation).lease);
    expect(msLeft).toBeGreaterThan(0);
    expect(msLeft).toBeLessThanOrEqual(leaseMs);
  });

  test("a head that rotted is told from others by name, and by its turn where that can be told", async () => {
    const turn = aTurn(12);
    await mailbox.append(turn);
    const { lease, mailbox: key } = conversationKeys(conversation);
    const entry = (await truth.lindexBuffer(key, 0)) ?? Buffer.alloc(0);
    for (let bit = 0; bit < 8 * entry.length; bit++) {
      const rotten = flipped(entry, bit);
      const { key: named } = remainsOf(rotten.toString(), conversation, plainRecords);
      expect(named, `bit ${bit}`).toEqual({ turn: turn.id, attempt: 0 });
    }
    // In the words before the record, where the record begins, and in it.
    for (const bit of [8, 8 * 2, 8 * 5 + 5, 8 * 9, 8 * 90]) {
      await truth.del(lease);
      await truth.lset(key, 0, flipped(entry, bit));
      const error = { code: "RECORD_CORRUPT" };
      const head = { key: { turn: turn.id, attempt: 0 } };
      const outcome = await mailbox.claim(conversation, "w1");
      expect(outcome, `bit ${bit}`).toMatchObject({ kind: "damaged", head, error });
    }
  });

  test("a sealed head whose key's id rotted is one, and one with another process's key is not", async () => {
    const [ours, fresh] = [KeyRing.parse(newKey()), KeyRing.parse(newKey())];
    await new Mailbox(truth, new Records(fresh)).append(aTurn(1));
    const reader = new Mailbox(truth, new Records(ours));
    await truth.sadd(keysInUseKey, ours.primary, fresh.primary);
    await expect(reader.claim(conversation, "w1")).rejects.toMatchObject({ code: "KEY_MISSING" });
    await truth.srem(keysInUseKey, fresh.primary);
    await truth.del(conversationKeys(conversation).lease);
    expect(await reader.claim(conversation, "w1")).toMatchObject({
      kind: "damaged",
      head: { key: { turn: "1", attempt: 0 }, turn: null },
      error: { code: "RECORD_CORRUPT", values: { reason: "key id" } },
    });
  });

  test("a head of which nothing is left is taken out all the same, and the next comes", async () => {
    await mailbox.append(aTurn(1));
    await mailbox.append(aTurn(2));
    const keys = conversationKeys(conversation);
    await truth.lset(keys.mailbox, 0, Buffer.of(0xff, 0x00, 0x31));
    const outcome = await mailbox.claim(conversation, "w1");
    if (outcome.kind !== "damaged") throw new Error(outcome.kind);
    const { head } = outcome;
    expect(head).toMatchObject({ key: null, turn: null, seq: 0 });
    await truth.set(keys.lease, "another");
    expect(await ledger.endDamaged(head, head.entry, null)).toBeNull();
    await truth.set(keys.lease, head.lease);
    expect(await ledger.endDamaged(head, Buffer.from("another"), null)).toBeNull();
    expect(await ledger.endDamaged(head, head.entry, null)).toBe(1);
    await mailbox.release(head, { forgive: false });
    expect(await claimed()).toMatchObject({ seq: 2, claims: 1, head: { id: "2" } });
  });
});

describe("commit", () => {
  test("advances log, ledger, mailbox and outbox together", async () => {
    const origin = { kind: "discord-message", channelId: "5", messageId: "1" } as const;
    await mailbox.append(aTurn(1, { origin }));
    const claim = await claimed();
    const outcome = await commit(claim, [10, 20]);
    const head = advance({ epoch: 0, tokens: 0, crc: 0 }, [10, 20]);
    expect(outcome).toEqual({ kind: "committed", waiting: 0, logHead: head });
    expect(await ledger.logHead(conversation)).toEqual(head);
    expect((await ledger.log(conversation, head))?.map(({ tokens }) => tokens)).toEqual([[10, 20]]);
    const key = { turn: claim.head.id, attempt: 0 };
    expect(await ledger.reply(conversation, key)).toEqual(aRecord(claim));
    expect(await ledger.outbox()).toMatchObject([{ conversation, key }]);
    await ledger.notePart(conversation, key, { index: 0, messageId: "900" });
    await ledger.notePart(conversation, key, { index: 0, messageId: "901" });
    expect(await ledger.parts(conversation, key)).toEqual(["900"]);
    await ledger.markDelivered(conversation, key);
    expect(await ledger.outbox()).toEqual([]);
    expect(await truth.ttl(conversationKeys(conversation).reply(key))).toBeGreaterThan(29 * 86_400);
  });

  test("one flipped bit in the outbox hides no other reply", async () => {
    const origin = { kind: "discord-message", channelId: "5", messageId: "1" } as const;
    await mailbox.append(aTurn(1, { origin }));
    await commit(await claimed());
    const { outbox } = conversationKeys(conversation);
    const member = Buffer.from(`${conversation} 20 0`);
    for (let bit = 0; bit < 8 * member.length; bit++) {
      await truth.zadd(outbox, 1, flipped(member, bit));
    }
    const keys = (await ledger.outbox()).map(({ key }) => key);
    expect(keys).toContainEqual({ turn: "1", attempt: 0 });
  });

  test("happens once", async () => {
    await mailbox.append(aTurn(1));
    const claim = await claimed();
    await commit(claim);
    expect(await commit(claim)).toEqual({ kind: "already-committed" });
    expect((await ledger.summary(conversation)).logHead.tokens).toBe(3);
  });

  test("refuses a turn that is not the head", async () => {
    await mailbox.append(aTurn(1));
    await mailbox.append(aTurn(2));
    const claim = await claimed();
    const other = { ...claim, head: aTurn(2) };
    expect(await commit(other)).toEqual({ kind: "log-moved" });
  });

  test("refuses to extend a log that moved, and a reset moves it", async () => {
    await mailbox.append(aTurn(1));
    await commit(await claimed());
    await truth.del(conversationKeys(conversation).lease);
    await mailbox.append(aTurn(2));
    const claim = await claimed();
    expect((await new History(truth).reset(conversation, "op"))?.tokens).toBe(3);
    expect(await commit(claim)).toEqual({ kind: "log-moved" });
    expect(await ledger.summary(conversation)).toMatchObject({
      logHead: { epoch: 1, tokens: 0, crc: 0 },
      blocks: 0,
      waiting: 1,
    });
    await truth.del(conversationKeys(conversation).lease);
    const again = await claimed();
    expect(again.logHead).toBe("1:0:0");
    expect((await commit(again)).kind).toBe("committed");
  });

  test("a failed turn leaves the log as it was", async () => {
    await mailbox.append(aTurn(1));
    const claim = await claimed();
    const startedFrom = parseLogHead(claim.logHead);
    const record = aRecord(claim, { status: "failed", end: "failed", code: "TURN_FAILED" });
    await ledger.commit(claim, record, { startedFrom, tokens: [] });
    expect((await ledger.summary(conversation)).logHead.tokens).toBe(0);
    expect(await mailbox.waiting(conversation)).toEqual([]);
  });
});

test("trim drops what the kept snapshots contain, once", async () => {
  for (const id of [1, 2, 3]) {
    await mailbox.append(aTurn(id));
    await truth.del(conversationKeys(conversation).lease);
    await commit(await claimed(), [id, id]);
  }
  await truth.del(conversationKeys(conversation).lease);
  await mailbox.append(aTurn(4));
  const claim = await claimed();
  const head = parseLogHead(claim.logHead);
  const [, , last] = (await ledger.log(conversation, head)) ?? [];
  const to = last?.start ?? head;
  expect(await ledger.trim(claim, { from: claim.logStart, to }, 2)).toBe(true);
  expect(await ledger.trim(claim, { from: claim.logStart, to }, 2)).toBe(false);
  expect((await ledger.log(conversation, head))?.map(({ tokens }) => tokens)).toEqual([[3, 3]]);
});

test("fighting workers lose, double and reorder nothing, through kill -9 of Redis", async () => {
  const conversations = ["a", "b", "c", "d", "e", "f"].map((name) => aConversation(name));
  const turnsEach = mailboxLengthMax;
  // Asked of the ledger, because a commit's answer may be lost in the kill.
  async function finished(): Promise<boolean> {
    const summaries = await Promise.all(conversations.map((id) => ledger.summary(id)));
    return summaries.every(({ turns }) => turns === turnsEach);
  }
  async function appendAll(id: ConversationId): Promise<void> {
    const index = conversations.indexOf(id) + 1;
    for (let turn = 1; turn <= turnsEach; turn++) {
      await mailbox.append(aTurn(1000 * index + turn, { conversation: id }));
    }
  }
  async function work(worker: string): Promise<void> {
    while (!(await finished())) {
      for (const id of conversations) {
        const outcome = await mailbox.claim(id, worker);
        // Redelivery: everything is appended again, and what is known must not double.
        if (outcome.kind === "empty") await appendAll(id);
        if (outcome.kind !== "claimed") continue;
        const { claim } = outcome;
        const startedFrom = parseLogHead(claim.logHead);
        const tokens = [Number(claim.head.id)];
        const result = await ledger.commit(claim, aRecord(claim), { startedFrom, tokens });
        if (result.kind === "committed") await mailbox.release(claim, { forgive: false });
      }
    }
  }
  const workers = Promise.all(["w1", "w2", "w3"].map(work));
  await new Promise((done) => setTimeout(done, 30));
  await server.kill();
  await server.restart();
  await workers;
  for (const [index, id] of conversations.entries()) {
    const head = await ledger.logHead(id);
    const log = (await ledger.log(id, head))?.flatMap(({ tokens }) => tokens);
    expect(log).toEqual(
      Array.from({ length: turnsEach }, (_, turn) => 1000 * (index + 1) + turn + 1),
    );
  }
});

function damaged(error: EyrieError): never {
  throw error;
}

/** What the claim's worker would go on from. */
function handedOver(claim: Claim, changes: object = {}): readonly number[] {
  const { head, logHead, partial } = claim;
  const wanted = { conversation, turn: head.id, attempt: head.attempt, logHead, fingerprint: "f" };
  const by = { records: plainRecords, damaged };
  return tokensOfPartial(partial, { ...wanted, ...changes }, by);
}

describe("handing over", () => {
  const drawn = { fingerprint: "f", tokens: [5, 6, 7] };

  test("the next claim gets what was drawn, once the lease is free, and is the first", async () => {
    await mailbox.append(aTurn(1));
    const first = await claimed();
    expect([first.partial, handedOver(first)]).toEqual(["", []]);
    expect(await mailbox.handOver(first, drawn)).toBe(1);
    const second = await claimed("w2");
    expect(handedOver(second)).toEqual([5, 6, 7]);
    expect(second.claims).toBe(1);
    // The successor dies: its successor goes on from the same place.
    await truth.del(conversationKeys(conversation).lease);
    const third = await claimed("w3");
    expect(handedOver(third)).toEqual([5, 6, 7]);
    expect(third.claims).toBe(2);
    await commit(third);
    expect(await truth.exists(conversationKeys(conversation).partial)).toBe(0);
  });

  test("counts for its own attempt, place and model only", async () => {
    await mailbox.append(aTurn(1));
    await mailbox.handOver(await claimed(), drawn);
    const claim = await claimed();
    for (const other of [
      { turn: "2" },
      { attempt: 1 },
      { logHead: "0:1:1" },
      { fingerprint: "g" },
    ]) {
      expect(handedOver(claim, other)).toEqual([]);
    }
  });

  test("is refused to one whose lease is another's, whose log moved or whose turn is gone", async () => {
    const { lease, partial } = conversationKeys(conversation);
    await mailbox.append(aTurn(1));
    const zombie = await claimed();
    await truth.del(lease);
    const successor = await claimed();
    expect(await mailbox.handOver(zombie, drawn)).toBeNull();
    await new History(truth).reset(conversation, "op");
    // Given back all the same: there is mail.
    expect(await mailbox.handOver(successor, drawn)).toBe(1);
    expect(await truth.exists(lease, partial)).toBe(0);
    const third = await claimed();
    await commit(third);
    expect(await mailbox.handOver(third, drawn)).toBe(0);
    expect(await truth.exists(lease, partial)).toBe(0);
  });

  test("happens with each renewal too, for the case that the worker dies", async () => {
    const { lease, partial } = conversationKeys(conversation);
    await mailbox.append(aTurn(1));
    const first = await claimed();
    expect(await mailbox.renew(first, null)).toBe(true);
    expect(await truth.exists(partial)).toBe(0);
    expect(await mailbox.renew(first, drawn)).toBe(true);
    expect(await mailbox.renew(first, null)).toBe(true);
    await truth.del(lease);
    const second = await claimed("w2");
    expect(handedOver(second)).toEqual([5, 6, 7]);
    expect(second.claims).toBe(2);
    expect(await mailbox.renew(first, { ...drawn, tokens: [8] })).toBe(false);
    await new History(truth).reset(conversation, "op");
    expect(await mailbox.renew(second, { ...drawn, tokens: [8] })).toBe(true);
    await truth.del(lease);
    const third = await claimed();
    expect(third.partial).toBe("");
    await commit(third);
    expect(await mailbox.renew(third, drawn)).toBe(true);
    expect(await truth.exists(partial)).toBe(0);
  });

  test("one flipped bit, and it is refused by name", async () => {
    await mailbox.append(aTurn(1));
    await mailbox.handOver(await claimed(), drawn);
    const claim = await claimed();
    const record = Buffer.from(claim.partial);
    const wanted = {
      conversation,
      turn: claim.head.id,
      attempt: 0,
      logHead: claim.logHead,
      fingerprint: "f",
    };
    for (let bit = 0; bit < 8 * record.length; bit++) {
      const rotten = Buffer.from(record);
      rotten[bit >> 3]! ^= 1 << (bit & 7);
      const refused: string[] = [];
      const tokens = tokensOfPartial(rotten.toString("latin1"), wanted, {
        records: plainRecords,
        damaged: ({ code }) => refused.push(code),
      });
      expect([tokens, refused]).toEqual([[], ["RECORD_CORRUPT"]]);
    }
  });
});
