import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { snapshotKey } from "#infra/redis/keys.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { chunkBytesMax, SnapshotStore } from "#infra/snapshot/snapshot.ts";
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

test("the two furthest in the log are kept, whenever they were written", async () => {
  await store.write(conversation, "0:100:1", bytes(8, 1));
  await store.write(conversation, "0:300:3", bytes(8, 3));
  expect(await store.write(conversation, "0:200:2", bytes(8, 2))).toEqual(["0:300:3", "0:200:2"]);
  // A worker saves what it held long ago: it pushes out nothing.
  expect(await store.write(conversation, "0:50:9", bytes(8, 9))).toEqual(["0:300:3", "0:200:2"]);
  expect(await store.read(conversation, "0:50:9")).toBeNull();
  expect(await store.read(conversation, "0:100:1")).toBeNull();
});

test("after a reset the new epoch counts more, however short", async () => {
  await store.write(conversation, "0:90000:1", bytes(8, 1));
  await store.write(conversation, "0:95000:2", bytes(8, 2));
  expect(await store.write(conversation, "1:20:3", bytes(8, 3))).toEqual(["1:20:3", "0:95000:2"]);
});
