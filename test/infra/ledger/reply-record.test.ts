/** A reply record in a real Redis: whatever bit of it is wrong, its reader says so. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Ledger } from "#infra/ledger/ledger.ts";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { plainRecords, Records } from "#infra/redis/records.ts";
import { Workshop } from "../conversation/workshop.ts";
import { aConversation, aTurn } from "../turns.ts";

const conversation = aConversation("record");
const key = { turn: aTurn(1).id, attempt: 0 };
let shop: Workshop;

beforeAll(async () => {
  shop = await Workshop.open();
  // Every bit is written once: not each of them to the disk.
  await shop.truth.config("SET", "appendfsync", "no");
});

afterAll(async () => shop.close());

test.each([
  ["plain", plainRecords],
  ["sealed", new Records(KeyRing.parse(newKey()))],
])("every flipped bit of a %s one is detected and named", async (_, records) => {
  await shop.empty();
  await shop.with(records).exchange(conversation, 1);
  const ledger = new Ledger(shop.truth, records);
  const name = conversationKeys(conversation).reply(key);
  const good = (await shop.truth.getBuffer(name)) ?? Buffer.alloc(0);
  expect((await ledger.reply(conversation, key))?.text).toBe("reply to message 1");
  for (let bit = 0; bit < 8 * good.length; bit++) {
    const bad = Buffer.from(good);
    bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    await shop.truth.set(name, bad);
    const outcome = await ledger.reply(conversation, key).then(
      () => "read",
      (error: unknown) => String(error),
    );
    expect(outcome, `bit ${bit}`).toMatch(
      /^EyrieError: (?:RECORD_CORRUPT \(what=reply record|KEY_MISSING \(.*what=reply record)/,
    );
  }
});
