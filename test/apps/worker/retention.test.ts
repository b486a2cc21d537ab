/** What stays after a state was saved: whatever happens to one snapshot, ten turns can be taken back. */
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { retain } from "#apps/worker/turnloop/retention.ts";
import { parseLogHead } from "#infra/ledger/tokenlog.ts";
import { conversationKeys, snapshotKey } from "#infra/redis/keys.ts";
import { packedState, Workshop } from "../../infra/conversation/workshop.ts";
import { aConversation } from "../../infra/turns.ts";

vi.setConfig({ testTimeout: 60_000 });

const conversation = aConversation("kept");
let shop: Workshop;
/** Where the log ended after each turn; the first one is 1. */
let heads: string[];

beforeAll(async () => {
  shop = await Workshop.open();
});

beforeEach(async () => {
  await shop.empty();
  heads = ["0:0:0"];
});

afterAll(async () => {
  await shop.close();
});

async function talkUntil(turn: number): Promise<void> {
  for (let id = heads.length; id <= turn; id++) {
    await shop.exchange(conversation, id);
    heads.push(await shop.logHead(conversation));
  }
}

function headAfter(turn: number): string {
  return heads[turn] ?? "";
}

/** As a worker that holds the state after that turn, the last one. */
async function save(turn: number): Promise<void> {
  await talkUntil(turn);
  const head = headAfter(turn);
  await shop.snapshots.write(conversation, head, packedState(head));
  const hold = await shop.mailbox.hold(conversation, head);
  if (hold === null) throw new Error("not held");
  expect(await retain(shop, hold, parseLogHead(head))).toBe(true);
  await shop.mailbox.release(hold, { forgive: false });
}

async function blocks(): Promise<number> {
  return shop.truth.llen(conversationKeys(conversation).log);
}

test("the log is cut to a snapshot behind the ten turns that can be taken back", async () => {
  await save(1);
  await save(2);
  await save(12);
  expect(await shop.snapshots.heads(conversation)).toEqual([headAfter(12), headAfter(2)]);
  expect(await blocks()).toBe(10);
});

describe("a snapshot that cannot be relied on is not what the log is cut to", () => {
  test("one that its worker could not confirm is made to stay first", async () => {
    await talkUntil(2);
    await shop.snapshots.write(conversation, headAfter(2), packedState(headAfter(2)));
    await save(12);
    expect(await blocks()).toBe(10);
    expect(await shop.state.ttl(snapshotKey(conversation, headAfter(2)))).toBe(-1);
  });

  test.each([
    ["one that has rotted", 2],
    ["one of another place", 1],
  ])("%s goes, and the older one stays", async (_, from) => {
    await save(1);
    await save(2);
    const bytes = packedState(headAfter(from));
    if (from === 2) bytes[bytes.length - 9]! ^= 1;
    await shop.state.hset(snapshotKey(conversation, headAfter(2)), "0", bytes);
    await save(12);
    expect(await shop.snapshots.heads(conversation)).toEqual([headAfter(12), headAfter(1)]);
    // One more than can be taken back: what lies between that snapshot and the first of them.
    expect(await blocks()).toBe(11);
  });
});
