/** Of a cluster each master's replicas speak for its own keys. */
import { expect, test } from "vitest";
import { serverOf, serversOf } from "#infra/redis/address.ts";
import { Replication } from "#infra/redis/replication.ts";
import { ClusterFleet } from "#test/redis/fleet.ts";

test("a record is confirmed by the replica of its own master", async () => {
  const fleet = await ClusterFleet.start(1);
  const truth = await fleet.client();
  const replication = new Replication(truth, { expected: false });
  try {
    const keys = Array.from({ length: 12 }, (_, bucket) => `eyrie:{${bucket}}:record`);
    for (const key of keys) await truth.set(key, "1");
    const linked = async (): Promise<number[]> =>
      Promise.all(
        serversOf(truth).map(async (server) =>
          Number(/connected_slaves:(\d+)/.exec(await server.info("replication"))?.[1]),
        ),
      );
    await expect.poll(linked, { timeout: 30_000 }).toEqual([1, 1, 1]);
    const all = async (): Promise<boolean[]> =>
      Promise.all(keys.map(async (key) => replication.confirms(key)));
    await expect.poll(all, { timeout: 30_000 }).toEqual(keys.map(() => true));

    const lonely = await serverOf(truth, keys[0] ?? "");
    const info = (await lonely?.info("replication")) ?? "";
    await fleet.kill(Number(/slave0:ip=[^,]+,port=(\d+)/.exec(info)?.[1]));
    const owners = await Promise.all(keys.map(async (key) => serverOf(truth, key)));
    expect(new Set(owners).size).toBe(3);
    // A busy replica may need another look; one that is gone never answers.
    await expect.poll(all, { timeout: 30_000 }).toEqual(owners.map((owner) => owner !== lonely));
  } finally {
    await replication.close();
    truth.disconnect();
    await fleet.stop();
  }
}, 120_000);
