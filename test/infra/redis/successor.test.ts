/** Of a cluster a master can be replaced: whoever asked to hear of it does, and its keys go on. */
import { expect, test } from "vitest";
import { serverOf, serversOf, whenReplaced } from "#infra/redis/address.ts";
import { ClusterFleet } from "#test/redis/fleet.ts";

test("the end of a master is told, and its replica takes what it is asked then", async () => {
  const fleet = await ClusterFleet.start(1);
  const truth = await fleet.client();
  try {
    const key = "eyrie:{7}:record";
    await truth.set(key, "once");
    const linked = async (): Promise<boolean[]> =>
      Promise.all(
        serversOf(truth).map(async (server) =>
          (await server.info("replication")).includes("state=online"),
        ),
      );
    await expect.poll(linked, { timeout: 30_000 }).toEqual([true, true, true]);
    const master = await serverOf(truth, key);
    let told = 0;
    whenReplaced(truth, () => {
      told++;
    });
    await fleet.kill(Number(master?.options.port));
    await expect.poll(() => told, { timeout: 30_000 }).toBeGreaterThan(0);
    // As what puts turns back does: at once, while the cluster may still be without a master for it.
    expect(await truth.set(key, "again")).toBe("OK");
    expect((await serverOf(truth, key))?.options.port).not.toBe(master?.options.port);
  } finally {
    truth.disconnect();
    await fleet.stop();
  }
}, 120_000);
