/** What an idle conversation costs in truth, as Redis counts it, in the keys that stay. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { retain } from "#apps/worker/turnloop/retention.ts";
import { parseLogHead } from "#infra/ledger/tokenlog.ts";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import { conversationKeys, conversationPattern } from "#infra/redis/keys.ts";
import { plainRecords, Records } from "#infra/redis/records.ts";
import {
  communityId,
  type ConversationId,
  conversationId,
  turnId,
  userId,
} from "#infra/turn/index.ts";
import { packedState, Workshop } from "../conversation/workshop.ts";

/** DESIGN §4. */
const idleBytesMax = 4096;
const conversation = conversationId("discord-1234567890123456789");
let workshop: Workshop;
let shop: Workshop;

beforeAll(async () => {
  shop = await Workshop.open();
});

afterAll(async () => shop.close());

beforeEach(async () => {
  workshop = shop;
  await shop.empty();
});

/** Ids as a vocabulary of 65,529 gives them: half of them among the most used. */
function hundredTokens(turn: number): number[] {
  return Array.from({ length: 100 }, (_, index) =>
    index % 2 === 0 ? (turn * 7919 + index * 104_729) % 65_530 : 256 + ((turn * 31 + index) % 4000),
  );
}

/** A turn of Discord with its state kept after it, as a worker of a large model does. */
async function ordinaryTurn(index: number): Promise<void> {
  const id = turnId(String(1_300_000_000_000_000_000n + BigInt(index) * 4_194_304_000n));
  const messageId = String(id);
  await workshop.exchange(conversation, 0, {
    tokens: hundredTokens(index),
    turn: {
      id,
      author: userId(String(1_200_000_000_000_000_000n + BigInt(index % 2))),
      community: communityId("1100000000000000000"),
      model: "eagle-7b",
      origin: { kind: "discord-message", channelId: conversation.slice(8), messageId },
    },
  });
  const key = { turn: id, attempt: 0 };
  await workshop.ledger.notePart(conversation, key, {
    index: 0,
    messageId: String(BigInt(id) + 1n),
  });
  await workshop.ledger.markDelivered(conversation, key);
  const logHead = await workshop.logHead(conversation);
  await workshop.snapshot(conversation, logHead, packedState(logHead));
  const hold = await workshop.mailbox.hold(conversation, logHead);
  if (hold === null) throw new Error("not held");
  expect(await retain(workshop, hold, parseLogHead(logHead))).toBe(true);
  await workshop.mailbox.release(hold, { forgive: false });
}

/** Bytes of the keys that stay; the others run out by themselves, 30 days after delivery at most. */
async function idleBytes(of: ConversationId): Promise<number> {
  let bytes = 0;
  for (const key of await workshop.truth.keys(conversationPattern(of))) {
    if ((await workshop.truth.ttl(key)) !== -1) continue;
    bytes += Number(await workshop.truth.memory("USAGE", key, "SAMPLES", 0));
  }
  return bytes;
}

async function talk(turns: number): Promise<void> {
  for (let index = 1; index <= turns; index++) await ordinaryTurn(index);
}

test.each([
  ["plain", plainRecords],
  ["sealed", new Records(KeyRing.parse(newKey()))],
])("takes 4 KiB in truth at most after ten ordinary turns, %s", async (_, records) => {
  workshop = shop.with(records);
  await talk(10);
  expect(await workshop.truth.llen(conversationKeys(conversation).log)).toBe(10);
  expect(await idleBytes(conversation)).toBeLessThanOrEqual(idleBytesMax);
});

test("and after many, whenever its log is cut to the ten turns that can be taken back", async () => {
  const { log } = conversationKeys(conversation);
  await talk(29);
  expect(await workshop.truth.llen(log)).toBe(10);
  expect(await idleBytes(conversation)).toBeLessThanOrEqual(idleBytesMax);
  // Just before it is cut again, the log is at its longest.
  for (let index = 30; index <= 37; index++) await ordinaryTurn(index);
  expect(await workshop.truth.llen(log)).toBe(18);
  expect(await idleBytes(conversation)).toBeLessThanOrEqual(1.5 * idleBytesMax);
});
