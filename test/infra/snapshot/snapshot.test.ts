import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { snapshotIndexKey, snapshotKey } from "#infra/redis/keys.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { chunkBytesMax, SnapshotStore, unconfirmedSeconds } from "#infra/snapshot/snapshot.ts";
import { RedisServer } from "#test/redis/server.ts";
import { aConversation } from "../turns.ts";

const conversation = aConversation("snap");
let server: RedisServer;
let state: ScriptedRedis;
let store: SnapshotStore;

beforeAll(async () => {
  server = await RedisServer.start();
  state = await server.client();
  store = new SnapshotStore(state);
});

afterAll(async () => {
  state.disconnect();
  await server.stop();
});

beforeEach(async () => {
  await state.flushall();
});

function bytes(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => (index * 31 + seed) & 255));
}

async function keep(...heads: readonly string[]): Promise<void> {
  for (const head of heads) {
    await store.write(conversation, head, bytes(8, 1));
    await store.confirm(conversation, head);
  }
}

async function prune(heads: readonly string[], horizonTokens: number): Promise<string[]> {
  const log = { heads: new Set(heads), horizonTokens, start: "0:0:0" };
  return store.prune(conversation, log, (_, packed) => bytes(8, 1).equals(packed));
}

test.each([1, chunkBytesMax, chunkBytesMax + 1, 3 * chunkBytesMax])(
  "%d bytes come back as written, in chunks that never block small commands for long",
  async (length) => {
    const packed = bytes(length, 5);
    await store.write(conversation, "0:10:7", packed);
    expect((await store.read(conversation, "0:10:7"))?.equals(packed)).toBe(true);
    const chunks = Object.values(await state.hgetallBuffer(snapshotKey(conversation, "0:10:7")));
    expect(chunks).toHaveLength(Math.ceil(length / chunkBytesMax));
    for (const chunk of chunks) expect(chunk.length).toBeLessThanOrEqual(chunkBytesMax);
  },
);

test("kept are the newest, the newest before the horizon, and the next it will reach", async () => {
  const heads = ["0:100:1", "0:200:2", "0:300:3", "0:400:4", "0:500:5"];
  await keep(...heads);
  expect(await prune(heads, 250)).toEqual(["0:500:5", "0:300:3", "0:200:2"]);
  expect(await store.heads(conversation)).toEqual(["0:500:5", "0:300:3", "0:200:2"]);
  expect(await store.read(conversation, "0:400:4")).toBeNull();
  expect(await prune(heads, 299)).toEqual(["0:500:5", "0:300:3", "0:200:2"]);
  expect(await prune(heads, 300)).toEqual(["0:500:5", "0:300:3"]);
  expect(await prune(heads, 500)).toEqual(["0:500:5"]);
});

test("however often it is saved, the horizon is followed by a snapshot, and three are enough", async () => {
  const heads: string[] = [];
  for (let turn = 1; turn <= 60; turn++) {
    const head = `0:${10 * turn}:${turn}`;
    heads.push(head);
    await keep(head);
    const horizon = Math.max(0, turn - 10);
    const kept = (await prune(heads, 10 * horizon)).map((one) => Number(one.split(":")[1]) / 10);
    expect(kept.length).toBeLessThanOrEqual(3);
    expect(kept[0]).toBe(turn);
    // The log is trimmed to the oldest one: it never reaches back more than twice as far as needed.
    if (turn > 20) expect(kept.at(-1)).toBeGreaterThan(horizon - 11);
    if (turn > 20) expect(kept.at(-1)).toBeLessThanOrEqual(horizon);
  }
});

test("what is not on the log goes: another branch, an older epoch, a lost one's name", async () => {
  await keep("0:90000:1", "1:20:3", "1:30:9", "1:40:4", "1:50:5");
  await state.del(snapshotKey(conversation, "1:50:5"));
  const log = ["1:20:3", "1:40:4", "1:50:5"];
  expect(await prune(log, 25)).toEqual(["1:40:4", "1:20:3"]);
  expect(await store.heads(conversation)).toEqual(["1:40:4", "1:20:3"]);
  expect(await state.keys("*90000*")).toEqual([]);
});

test("an unconfirmed one vanishes by itself, index and all; a confirmed one stays", async () => {
  const [index, key] = [snapshotIndexKey(conversation), snapshotKey(conversation, "0:10:1")];
  await store.write(conversation, "0:10:1", bytes(8, 1));
  for (const name of [index, key]) {
    expect(await state.ttl(name)).toBeGreaterThan(0);
    expect(await state.ttl(name)).toBeLessThanOrEqual(unconfirmedSeconds);
  }
  await store.confirm(conversation, "0:10:1");
  for (const name of [index, key]) expect(await state.ttl(name)).toBe(-1);
  // The next one endangers neither the index nor its older neighbour.
  await store.write(conversation, "0:20:2", bytes(8, 2));
  for (const name of [index, key]) expect(await state.ttl(name)).toBe(-1);
  // Written again, a confirmed one stays what it is.
  await store.write(conversation, "0:10:1", bytes(8, 9));
  expect(await state.ttl(key)).toBe(-1);
  expect((await store.read(conversation, "0:10:1"))?.equals(bytes(8, 1))).toBe(true);
});

test("confirming what was dropped meanwhile brings nothing back", async () => {
  await store.write(conversation, "0:10:1", bytes(8, 1));
  await store.dropAll(conversation);
  await store.confirm(conversation, "0:10:1");
  expect(await state.dbsize()).toBe(0);
});

test("dropping all takes what has no name yet, and nothing of a neighbour", async () => {
  const neighbour = aConversation("snap2");
  await keep("0:10:1");
  await store.write(neighbour, "0:10:1", bytes(8, 1));
  await state.hset(snapshotKey(conversation, "0:20:2"), "0", "half written");
  await store.dropAll(conversation);
  expect(await state.keys(`*{${conversation}}*`)).toEqual([]);
  expect(await store.heads(neighbour)).toEqual(["0:10:1"]);
});

test("a copy is whole and independent, and stays when it is confirmed", async () => {
  const other = aConversation("other");
  const packed = bytes(2 * chunkBytesMax + 3, 4);
  await store.write(conversation, "0:10:1", packed);
  expect(await store.copy(conversation, other, ["0:10:1", "0:99:9"])).toEqual(["0:10:1"]);
  await store.dropAll(conversation);
  expect((await store.read(other, "0:10:1"))?.equals(packed)).toBe(true);
  const names = [snapshotKey(other, "0:10:1"), snapshotIndexKey(other)];
  for (const name of names) expect(await state.ttl(name)).toBeGreaterThan(0);
  await store.confirm(other, "0:10:1");
  for (const name of names) expect(await state.ttl(name)).toBe(-1);
  // Copied once more, one that stays is not touched.
  await store.write(conversation, "0:10:1", bytes(8, 9));
  expect(await store.copy(conversation, other, ["0:10:1"])).toEqual(["0:10:1"]);
  expect((await store.read(other, "0:10:1"))?.equals(packed)).toBe(true);
  for (const name of names) expect(await state.ttl(name)).toBe(-1);
});
