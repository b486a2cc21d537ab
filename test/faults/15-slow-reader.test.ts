/**
 * Fault: the gateway reads the live stream at a few kilobytes a second, and the state Redis hangs up
 *   on it when too much is waiting.
 * Expected: live text is a hint: it may stutter; the last text comes from the ledger.
 * Invariant: right texts; what the state Redis keeps for the slow reader is bounded by its limit.
 * Bound: memory of the state Redis.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, rounds } from "./figures.ts";
import { Relay } from "./relay.ts";
import { Scene } from "./scene.ts";

const channels = 6;
const outputBytesMax = 32 * 1024;

test("a gateway that reads slowly shows the right texts in the end", patience(1), async () => {
  const limits = `normal 0 0 0 replica 0 0 0 pubsub ${outputBytesMax} 8192 1`;
  const settings = { "client-output-buffer-limit": limits };
  const scene = await Scene.open({ gateway: false, channels, state: settings });
  const relay = await Relay.open(scene.platform.stateServer.url, "slow");
  try {
    await scene.startGateway({ STATE_REDIS_URL: relay.url });
    relay.become({ kind: "slow", bytesPerSecond: 2_000 });
    for (let round = 0; round < rounds(1); round++) {
      for (const channel of scene.channels) {
        scene.say(`much to tell ${round} [words=150] [ms=15]`, channel);
      }
      let waitingBytesMax = 0;
      await scene.until(async () => {
        waitingBytesMax = Math.max(waitingBytesMax, await outputBytes(scene));
        return (await Promise.all(scene.said.map(async (one) => scene.record(one)))).every(Boolean);
      }, "all records");
      // One frame more may stand behind the limit when Redis looks.
      expect(waitingBytesMax).toBeLessThan(2 * outputBytesMax);
      await scene.settled();
    }
    await check(scene);
  } finally {
    await scene.close();
    await relay.close();
  }
});

/** What waits for the slowest subscriber. */
async function outputBytes(scene: Scene): Promise<number> {
  const list = (await scene.platform.state.client("LIST", "TYPE", "PUBSUB")) as string;
  const sizes = [...list.matchAll(/ omem=(\d+)/g)].map(([, bytes]) => Number(bytes));
  return Math.max(0, ...sizes);
}
