/**
 * Fault: Discord does what a request asks for and the connection breaks before its answer; once soon
 *   repeated, once repeated only when the nonce is no longer remembered.
 * Expected: repeated with the same nonce, which returns the first message; later than that the reply
 *   is looked for by what it refers to before anything is posted.
 * Invariant: one message for each turn.
 * Bound: 0 duplicate messages.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

const post = "POST /channels/:channel/messages";
const edit = "PATCH /channels/:channel/messages/:message";
const nonceWindowMs = 180_000;

test("an answer lost on a post or an edit makes no second message", patience(2), async () => {
  const scene = await Scene.open({ channels: 3 });
  try {
    for (let round = 0; round < rounds(2); round++) {
      const fault = { kind: round % 2 === 0 ? "lose-answer" : "lose-request" } as const;
      scene.double.restFaults.next(post, fault, { times: 2 });
      scene.double.restFaults.next(edit, fault, { times: 2 });
      for (const channel of scene.channels) scene.say(`hear me ${round} [words=8]`, channel);
      await scene.settled();
    }
    expect(scene.double.restFaults.take(post)).toBeNull();
    await check(scene);
  } finally {
    await scene.close();
  }
});

test("a message whose nonce is forgotten is found by what it refers to", patience(2), async () => {
  const scene = await Scene.open({ double: { nonceWindowMs } });
  try {
    for (let round = 0; round < rounds(1); round++) {
      const { death } = await scene.armGateway("message-unnoted");
      const said = scene.say(`who answers ${round}`);
      await death;
      expect(scene.replies(said)).toHaveLength(1);
      scene.double.clock.pass(nonceWindowMs + 1_000);
      await scene.startGateway();
      await scene.settled();
    }
    await check(scene);
  } finally {
    await scene.close();
  }
});
