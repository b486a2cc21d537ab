/**
 * Fault: the logits of one row are not finite.
 * Expected: seen before anything is drawn; that turn ends as failed by name, its state is not kept,
 *   its mates go on.
 * Invariant: no token from a non-finite row; the mates say, and the conversation goes on with,
 *   exactly what they would have without it.
 * Bound: 0 tokens, 0 effect on mates.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, rounds } from "./figures.ts";
import { type Said, Scene } from "./scene.ts";

const mates = 3;

test("a row that is not finite ends by name, and nothing else notices", patience(1), async () => {
  const scene = await Scene.open({ channels: 1 + mates });
  const failed = new Map<Said, string>();
  try {
    for (const channel of scene.channels) scene.say("before", channel);
    await scene.settled();
    const tokensBefore = await tokens(scene);
    for (let round = 0; round < rounds(1); round++) {
      for (const channel of scene.channels.slice(1)) {
        scene.say("beside it [words=20] [ms=20]", channel);
      }
      const poisoned = scene.say("[nan] [words=20] [ms=20]");
      failed.set(poisoned, "TURN_NOT_FINITE");
      await scene.settled();
      expect((await scene.record(poisoned))?.text).toBe("");
      expect(await tokens(scene)).toBe(tokensBefore);
    }
    for (const channel of scene.channels) scene.say("after", channel);
    await check(scene, { failed });
  } finally {
    await scene.close();
  }
});

async function tokens(scene: Scene): Promise<number> {
  return (await scene.platform.ledger.logHead(scene.conversation())).tokens;
}
