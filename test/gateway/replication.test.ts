/** Nothing is shown as final that no replica has, where there is one; without one it costs nothing. */
import { afterEach, expect, test } from "vitest";
import { Replication } from "#infra/redis/replication.ts";
import { freePorts } from "#test/redis/fleet.ts";
import { RedisServer } from "#test/redis/server.ts";
import { contentOf, Stage } from "./stage.ts";

let stage: Stage;
let replica: RedisServer | null = null;

afterEach(async () => {
  await stage.close();
  await replica?.stop();
  replica = null;
});

/** How often truth was asked to wait for replicas. */
async function waits(): Promise<number> {
  const info = await stage.truth.info("commandstats");
  return Number(/cmdstat_wait:calls=(\d+)/.exec(info)?.[1] ?? 0);
}

async function openWithReplica(): Promise<RedisServer> {
  const [port = 0] = await freePorts(1);
  stage = await Stage.open({
    empty: true,
    redis: { port: String(port), "repl-diskless-sync-delay": "0" },
  });
  replica = await RedisServer.start({ replicaof: `127.0.0.1 ${port}` });
  await follows(replica);
  await stage.start();
  return replica;
}

async function follows(server: RedisServer): Promise<void> {
  const client = await server.client();
  const linked = async (): Promise<boolean> =>
    (await client.info("replication")).includes("master_link_status:up");
  await expect.poll(linked).toBe(true);
  client.disconnect();
}

test("without a replica: no barrier, no wait", async () => {
  stage = await Stage.open();
  expect(contentOf(await stage.exchange("Hi", "Hello!"))).toBe("Hello!");
  expect(await waits()).toBe(0);
  expect(await stage.truth.keys("*barrier*")).toEqual([]);
});

test("with one: final once the replica has it", async () => {
  await openWithReplica();
  expect(contentOf(await stage.exchange("Hi", "Hello!"))).toBe("Hello!");
  expect(await waits()).toBeGreaterThan(0);
});

test("with one that is gone: shown as unfinished, asked about again, final when it is back", async () => {
  const server = await openWithReplica();
  await stage.exchange("Hi", "Hello!");
  await server.kill();
  const trigger = stage.ask("And now?");
  await stage.worker.commit(await stage.worker.claim(stage.conversation), "All is well.");
  const growing = (): boolean => contentOf(stage.replyTo(trigger)).startsWith("All is well. ▌");
  await stage.discord.waitFor(() => {
    try {
      return growing();
    } catch {
      return false;
    }
  });
  const before = await waits();
  await expect.poll(waits, { timeout: 20_000 }).toBeGreaterThan(before + 2);
  expect(growing()).toBe(true);
  expect(await stage.worker.ledger.outbox()).toHaveLength(1);
  await server.restart();
  await stage.waitForEmptyOutbox();
  expect(contentOf(stage.replyTo(trigger))).toBe("All is well.");
}, 60_000);

test("what the server does not have is never confirmed, whoever follows it", async () => {
  await openWithReplica();
  const replication = new Replication(stage.truth, { expected: false });
  await stage.truth.set("there", "1");
  const asked = async (): Promise<boolean[]> =>
    Promise.all(["there", "not there", "there"].map(async (key) => replication.confirms(key)));
  await expect.poll(asked).toEqual([true, false, true]);
  await replication.close();
});

test("where sentinels promise replicas, none at all is not enough", async () => {
  stage = await Stage.open({ empty: true });
  const replication = new Replication(stage.truth, { expected: true });
  await stage.truth.set("there", "1");
  expect(await replication.confirms("there")).toBe(false);
  await replication.close();
});
