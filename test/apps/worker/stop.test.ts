/** Stops of running turns: seen without their message, and by the attempt that they are for only. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { conversationKeys } from "#infra/redis/keys.ts";
import { turnId } from "#infra/turn/index.ts";
import { type Said, Scene } from "#test/faults/scene.ts";

let scene: Scene;

beforeAll(async () => {
  scene = await Scene.open();
});

afterAll(async () => scene.close());

/** What a stop of this attempt leaves in truth, without its message. */
async function stopUnheard({ channel, trigger }: Said, attempt: number): Promise<void> {
  const keys = conversationKeys(scene.conversation(channel));
  await scene.platform.truth.set(keys.stop(turnId(trigger.id)), attempt);
}

async function end(said: Said): Promise<string | undefined> {
  await scene.until(async () => (await scene.record(said)) !== null, "the record");
  return (await scene.record(said))?.end;
}

test("one whose message is lost ends the reply a moment later", async () => {
  const said = scene.say("a long story [words=900] [ms=40]");
  await scene.firstWords(said);
  await stopUnheard(said, 0);
  expect(await end(said)).toBe("stopped");
}, 60_000);

test("one of another attempt does not", async () => {
  const said = scene.say("a short story [words=60] [ms=60]");
  await scene.firstWords(said);
  await stopUnheard(said, 1);
  expect(await end(said)).toBe("stop");
}, 60_000);
