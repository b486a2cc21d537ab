/** Encryption at rest on two real servers: nothing readable, nothing movable, keys that change. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { forgetKey, keyUse, rotate } from "#infra/conversation/rotation.ts";
import { OpenReplies, openReplyOf } from "#infra/discord/open-replies.ts";
import { PendingForks } from "#infra/discord/pending-forks.ts";
import { encodeBlock, parseLogHead } from "#infra/ledger/tokenlog.ts";
import { keyIdOf, KeyRing, newKey } from "#infra/redis/keyring.ts";
import {
  conversationKeys,
  forksKey,
  keysInUseKey,
  openRepliesKey,
  outboxMember,
  snapshotKey,
} from "#infra/redis/keys.ts";
import { openRecords, plainRecords, Records } from "#infra/redis/records.ts";
import { conversationId, type Turn, userId } from "#infra/turn/index.ts";
import { aTurn } from "../turns.ts";
import { everything, Workshop } from "./workshop.ts";

const conversation = conversationId("discord-31415926535897932");
const fork = conversationId("discord-27182818284590452");
const [first, second] = [newKey(), newKey()];
const old = KeyRing.parse(first).primary;
const fresh = KeyRing.parse(second).primary;
const tokens = [501, 502, 503, 504, 505, 506];
const asker = "8675309867530986753";
let shop: Workshop;

beforeAll(async () => {
  shop = await Workshop.open(new Records(KeyRing.parse(first)));
});

afterAll(async () => shop.close());

beforeEach(async () => {
  await shop.empty();
  await shop.truth.sadd(keysInUseKey, old);
});

function question(id: number): Partial<Turn> {
  return {
    conversation,
    author: userId(asker),
    text: `the secret words of ${id}`,
    origin: {
      kind: "discord-interaction",
      channelId: "5",
      applicationId: "42",
      interactionToken: `interaction-token-of-${id}`,
    },
  };
}

/** Everything that may hold what people said, filled. */
async function live(workshop = shop): Promise<void> {
  for (const id of [11, 12, 13]) {
    await workshop.exchange(conversation, id, { tokens, turn: question(id) });
    await workshop.snapshot(conversation, await workshop.logHead(conversation));
  }
  await workshop.conversations.fork(conversation, fork);
  const waiting = aTurn(14, question(14));
  await workshop.mailbox.append(waiting);
  await gateway(workshop).replies.save(openReplyOf(waiting));
  await gateway(workshop).forks.save({
    operation: "900",
    source: conversation,
    channelId: "5",
    title: "the secret title",
    locale: "en-US",
    anchorId: null,
  });
}

function gateway({ truth, records }: Workshop) {
  return {
    replies: new OpenReplies(truth, "42", records),
    forks: new PendingForks(truth, "42", records),
  };
}

function stores(workshop: Workshop) {
  return { truth: workshop.truth, state: workshop.state, records: workshop.records };
}

async function readable(workshop: Workshop): Promise<void> {
  expect(await workshop.tokens(conversation)).toEqual([...tokens, ...tokens, ...tokens]);
  expect(await workshop.tokens(fork)).toEqual([...tokens, ...tokens, ...tokens]);
  expect((await workshop.history.turns(conversation)).map(({ author }) => author)).toEqual([
    asker,
    asker,
    asker,
  ]);
  const reply = await workshop.ledger.reply(conversation, { turn: aTurn(12).id, attempt: 0 });
  expect(reply?.text).toBe("reply to the secret words of 12");
  const [waiting] = await workshop.mailbox.waiting(conversation);
  expect(waiting?.text).toBe("the secret words of 14");
  const head = await workshop.logHead(conversation);
  for (const of of [conversation, fork]) {
    expect((await workshop.snapshots.read(of, head))?.toString()).toBe(`state at ${head}`);
  }
  expect((await gateway(workshop).replies.all(rethrow))[0]?.origin).toMatchObject({
    channelId: "5",
  });
  expect((await gateway(workshop).forks.all(rethrow))[0]?.title).toBe("the secret title");
}

function rethrow(error: unknown): never {
  throw error;
}

test("neither server holds text, tokens, states, who asked or interaction tokens in clear", async () => {
  await live();
  await readable(shop);
  const packed = encodeBlock(parseLogHead("0:0:0"), tokens).subarray(-12, -4).toString("latin1");
  const words = ["secret", "interaction-token", "state at", asker, packed, "reply to"];
  const lines = [...(await everything(shop.truth)), ...(await everything(shop.state))];
  expect(lines.length).toBeGreaterThan(15);
  for (const word of words) {
    expect(lines.filter((line) => line.includes(word)).map((line) => line.split(" ")[0])).toEqual(
      [],
    );
  }
  // The search finds them where nothing is sealed.
  await shop.empty();
  await live(shop.with(plainRecords));
  const open = [...(await everything(shop.truth)), ...(await everything(shop.state))].join("\n");
  for (const word of words.filter((one) => one !== asker)) expect(open).toContain(word);
});

test("an export shows it all again, and an undo, a regenerate and a delete work as ever", async () => {
  await live();
  const exported = JSON.stringify(await shop.conversations.export(conversation));
  for (const word of ["secret words of 12", "secret title", "interaction-token-of-14", asker]) {
    expect(exported).toContain(word);
  }
  expect(exported).not.toContain("damaged");
  await shop.commit(await shop.claim(conversation), tokens);
  const again = await shop.conversations.regenerate(conversation, {
    turn: aTurn(14).id,
    attempt: 0,
  });
  expect(again).toMatchObject({ kind: "waiting", turn: { text: "the secret words of 14" } });
  expect((await shop.claim(conversation)).head.attempt).toBe(1);
  expect((await shop.conversations.undo(conversation, 1))?.turns[0]?.turn).toBe("13");
  await shop.conversations.delete(conversation);
  await shop.conversations.delete(fork);
  const left = [...(await everything(shop.truth)), ...(await everything(shop.state))];
  expect(left.filter((line) => /31415926535897932|27182818284590452/.test(line))).toEqual([]);
});

describe("a flipped bit is found and named by whoever reads the record", () => {
  const reply = { turn: aTurn(12).id, attempt: 0 };
  const keys = conversationKeys(conversation);
  const open = {
    key: openRepliesKey("42"),
    field: outboxMember(conversation, { turn: aTurn(14).id, attempt: 0 }),
  };
  const rows: [string, { key: string; at: string; on?: "state" }, () => Promise<unknown>][] = [
    ["mailbox", { key: keys.mailbox, at: "0" }, async () => shop.mailbox.waiting(conversation)],
    [
      "mailbox",
      { key: keys.last, at: "" },
      async () => shop.conversations.regenerate(conversation, { turn: aTurn(13).id, attempt: 0 }),
    ],
    ["token block", { key: keys.log, at: "1" }, async () => shop.tokens(conversation)],
    ["past turn", { key: keys.turns, at: "1" }, async () => shop.history.turns(conversation)],
    [
      "reply record",
      { key: keys.reply(reply), at: "" },
      async () => shop.ledger.reply(conversation, reply),
    ],
    [
      "open reply",
      { key: open.key, at: open.field },
      async () => gateway(shop).replies.all(rethrow),
    ],
    [
      "pending fork",
      { key: forksKey("42"), at: "900" },
      async () => gateway(shop).forks.find("900"),
    ],
    [
      "snapshot",
      { key: "", at: "0", on: "state" },
      async () => shop.snapshots.read(conversation, await shop.logHead(conversation)),
    ],
  ];

  test.each(rows)("%s in %o", async (what, { key: name, at, on }, read) => {
    await live();
    const redis = on === "state" ? shop.state : shop.truth;
    const key = name === "" ? snapshotKey(conversation, await shop.logHead(conversation)) : name;
    const type = await redis.type(key);
    const get = {
      string: () => redis.getBuffer(key),
      list: () => redis.lindexBuffer(key, Number(at)),
      hash: () => redis.hgetBuffer(key, at),
    }[type];
    const value = (await get?.()) ?? Buffer.alloc(0);
    // Words in clear before a record are its script's affair, and short.
    const words = /^(?:\d+ ){3,4}(?=2 )/.exec(value.toString("latin1"))?.[0].length ?? 0;
    // Every bit of records is flipped in test/infra/redis/keyring.test.ts; here, some of each part.
    const stride = Math.max(7, Math.floor((8 * (value.length - words)) / 40) | 1);
    for (let bit = 8 * words; bit < 8 * value.length; bit += stride) {
      const flipped = Buffer.from(value);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      if (type === "string") await redis.set(key, flipped);
      else if (type === "list") await redis.lset(key, Number(at), flipped);
      else await redis.hset(key, at, flipped);
      // A snapshot without its first byte is no sealed one, and refused by who unpacks it.
      if (what === "snapshot" && bit < 8) continue;
      await expect(read(), `bit ${bit}`).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:RECORD_CORRUPT|KEY_MISSING)$/) as string,
      });
    }
  });
});

/** Which keys run out, and which do not. */
async function lifetimes(): Promise<string[]> {
  const lines: string[] = [];
  for (const redis of [shop.truth, shop.state]) {
    for (const key of await redis.keys("eyrie:{*")) {
      lines.push(`${key} ${(await redis.ttl(key)) > 0 ? "runs out" : "stays"}`);
    }
  }
  return lines.sort();
}

describe("rotation", () => {
  const both = new Records(KeyRing.parse(`${second},${first}`));

  test("old records stay readable, new ones take the first key, and the verb does the rest", async () => {
    await live();
    const rotated = shop.with(both);
    await readable(rotated);
    await rotated.exchange(conversation, 15, { tokens: [], turn: question(15) });
    const before = await keyUse(stores(rotated));
    expect(before).toMatchObject({ plain: 0, damaged: 0 });
    expect(before.byKey.get(old)).toBeGreaterThan(10);
    expect(before.byKey.get(fresh)).toBeGreaterThan(0);

    const lives = await lifetimes();
    const steps: number[] = [];
    const result = await rotate(stores(rotated), (done) => steps.push(done));
    expect(result).toMatchObject({ resealed: before.byKey.get(old), damaged: 0, retired: [old] });
    expect(Math.max(...steps)).toBeGreaterThan(10);
    expect((await keyUse(stores(rotated))).byKey.has(old)).toBe(false);
    expect(await lifetimes()).toEqual(lives);
    // The old key may go.
    const after = shop.with(new Records(KeyRing.parse(second)));
    expect(await after.tokens(conversation)).toEqual([...tokens, ...tokens, ...tokens]);
    expect(await rotate(stores(after))).toEqual({ resealed: 0, damaged: 0, retired: [] });
  });

  test("seals what was written before there were keys", async () => {
    await live(shop.with(plainRecords));
    expect((await keyUse(stores(shop))).plain).toBeGreaterThan(10);
    await rotate(stores(shop));
    expect(await keyUse(stores(shop))).toMatchObject({ plain: 0, damaged: 0 });
    await readable(shop);
  });

  test("stopped in the middle it has lost nothing, and the next run ends it", async () => {
    await live();
    const rotated = shop.with(both);
    let left = 7;
    const stopped = rotate(stores(rotated), () => {
      if (--left === 0) throw new Error("killed");
    });
    await expect(stopped).rejects.toThrow("killed");
    expect(await shop.truth.smembers(keysInUseKey)).toContain(old);
    await readable(rotated);
    await rotate(stores(rotated));
    await readable(shop.with(new Records(KeyRing.parse(second))));
  });

  test("of a conversation that goes on meanwhile mixes nothing up", async () => {
    await live();
    const rotated = shop.with(both);
    let id = 20;
    const talking = (async () => {
      for (; id < 40; id++) {
        const claim = await shop.claim(conversation);
        await shop.commit(claim, tokens);
        await shop.mailbox.append(aTurn(id, question(id)));
      }
    })();
    await rotate(stores(rotated));
    await talking;
    await rotate(stores(rotated));
    const after = shop.with(new Records(KeyRing.parse(second)));
    expect(await after.tokens(conversation)).toHaveLength(23 * tokens.length);
    expect((await after.mailbox.waiting(conversation)).map(({ id: one }) => one)).toEqual(["39"]);
  });

  test("takes a record whose key's name has rotted for damaged, not for one of a lost key", async () => {
    await live();
    const { log } = conversationKeys(conversation);
    const missing = shop.with(new Records(KeyRing.parse(second)));
    await expect(missing.tokens(conversation)).rejects.toMatchObject({ code: "KEY_MISSING" });
    const block = (await shop.truth.lindexBuffer(log, 0)) ?? Buffer.alloc(0);
    block[2] = (block[2] ?? 0) ^ 1;
    await shop.truth.lset(log, 0, block);
    const rotated = shop.with(both);
    const corrupt = { code: "RECORD_CORRUPT", values: { reason: "key id" } };
    await expect(rotated.tokens(conversation)).rejects.toMatchObject(corrupt);
    const use = await keyUse(stores(rotated));
    expect([use.damaged, [...use.byKey.keys()]]).toEqual([1, [old]]);
    expect(await rotate(stores(rotated))).toMatchObject({ damaged: 1, retired: [old] });
  });

  test("leaves a damaged record as it is, and says so", async () => {
    await live();
    const { log } = conversationKeys(conversation);
    const block = (await shop.truth.lindexBuffer(log, 0)) ?? Buffer.alloc(0);
    block[30] = (block[30] ?? 0) ^ 1;
    await shop.truth.lset(log, 0, block);
    expect(await rotate(stores(shop.with(both)))).toMatchObject({ damaged: 1, retired: [old] });
  });
});

describe("a key that is not there: KEY_MISSING", () => {
  test("stops a process at its start, and it does not write with other keys", async () => {
    await live();
    const config = { EYRIE_PROFILE: "production", EYRIE_KEYS: second } as const;
    const refused = { code: "KEY_MISSING", values: { key: old } };
    await expect(openRecords(config, shop.truth)).rejects.toMatchObject(refused);
    const demo = { EYRIE_PROFILE: "demo", EYRIE_KEYS: undefined } as const;
    await expect(openRecords(demo, shop.truth)).rejects.toMatchObject(refused);
    expect(await shop.truth.smembers(keysInUseKey)).toEqual([old]);
    const both = await openRecords({ ...config, EYRIE_KEYS: `${second} ${first}` }, shop.truth);
    expect(both.ring?.primary).toBe(fresh);
    expect((await shop.truth.smembers(keysInUseKey)).sort()).toEqual([old, fresh].sort());
  });

  test("given up, takes what only it could open with it, and nothing else", async () => {
    await live();
    const other = conversationId("cli-other");
    const after = shop.with(new Records(KeyRing.parse(second)));
    await after.exchange(other, 50);
    const names = await forgetKey(stores(after), old, async (one) =>
      after.conversations.delete(one),
    );
    expect(names).toEqual([fork, conversation].sort());
    expect(await after.tokens(other)).toEqual([50, 51]);
    expect([...(await keyUse(stores(after))).byKey.keys()]).toEqual([fresh]);
    expect(await shop.truth.smembers(keysInUseKey)).toEqual([]);
  });
});

test("a record that is moved to another conversation does not open there", async () => {
  await live();
  const [from, to] = [conversationKeys(conversation), conversationKeys(fork)];
  const block = (await shop.truth.lindexBuffer(from.log, 0)) ?? Buffer.alloc(0);
  expect(keyIdOf(block)).toBe(old);
  await shop.truth.lset(to.log, 0, block);
  await expect(shop.tokens(fork)).rejects.toMatchObject({ code: "RECORD_CORRUPT" });
  const entry = (await shop.truth.lindex(from.mailbox, 0)) ?? "";
  await shop.truth.rpush(to.mailbox, entry);
  await expect(shop.mailbox.waiting(fork)).rejects.toMatchObject({ code: "RECORD_CORRUPT" });
  const head = await shop.logHead(fork);
  await shop.state.copy(snapshotKey(conversation, head), snapshotKey(fork, head), "REPLACE");
  await expect(shop.snapshots.read(fork, head)).rejects.toMatchObject({ code: "RECORD_CORRUPT" });
});
