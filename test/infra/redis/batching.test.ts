/** Commands of one turn of the event loop leave together, whatever becomes of the connection. */
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { batchWrites } from "#infra/redis/batching.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { RedisServer } from "#test/redis/server.ts";

let server: RedisServer;
let client: ScriptedRedis;

beforeAll(async () => {
  server = await RedisServer.start();
  client = await server.client();
  batchWrites(client);
});

afterAll(async () => {
  client.disconnect();
  await server.stop();
});

test("answers come to those who asked, in order, binary ones too", async () => {
  const bytes = Buffer.from([0, 255, 13, 10, 128]);
  const all = await Promise.all([
    client.set("a", "1"),
    client.incr("a"),
    client.set("b", bytes),
    client.getBuffer("b"),
    client.multi().incr("a").incr("a").exec(),
  ]);
  expect(all).toEqual([
    "OK",
    2,
    "OK",
    bytes,
    [
      [null, 3],
      [null, 4],
    ],
  ]);
  // One after the other, each in a turn of its own.
  for (let value = 5; value < 30; value++) expect(await client.incr("a")).toBe(value);
});

test("after a restart of the server, too", async () => {
  await server.kill();
  const asked = Promise.all([client.set("c", "1"), client.get("c")]);
  await server.restart();
  expect(await asked).toEqual(["OK", "1"]);
});

test("what is asked before the end is answered", async () => {
  const other = await server.client();
  batchWrites(other);
  const asked = [other.set("d", "1"), other.quit()];
  expect(await Promise.all(asked)).toEqual(["OK", "OK"]);
});

test("a hundred commands of one turn are one write", async () => {
  const path = join(tmpdir(), `eyrie-writes-${process.pid}.sock`);
  const chunks: string[] = [];
  const sockets: Socket[] = [];
  const listener = createServer((socket) => {
    sockets.push(socket);
    socket.on("data", (chunk) => {
      const text = chunk.toString();
      if (text.includes("INCR") || text.includes("incr")) chunks.push(text);
      socket.write(":1\r\n".repeat(text.match(/^\*\d/gm)?.length ?? 0));
    });
  });
  await new Promise<void>((done) => listener.listen(path, done));
  const plain = new Redis(path, { enableReadyCheck: false, lazyConnect: true });
  plain.on("error", () => {});
  await plain.connect();
  batchWrites(plain);
  try {
    await Promise.all(Array.from({ length: 100 }, () => plain.incr("x")));
    expect(chunks).toHaveLength(1);
    expect(chunks[0]?.match(/incr/gi)).toHaveLength(100);
  } finally {
    plain.disconnect();
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => listener.close(done));
  }
});
