/** The checks of this room find what they are for: each is shown a platform with that one thing wrong. */
import { expect, test } from "vitest";
import { conversationKeys } from "#infra/redis/keys.ts";
import { encodeRecord } from "#infra/redis/record.ts";
import { type ReplyRecord, turnId } from "#infra/turn/index.ts";
import { check } from "./check.ts";
import { Recorder } from "./figures.ts";
import { type Said, Scene } from "./scene.ts";

/** Spoils something and returns how to mend it. */
type Spoil = (scene: Scene, said: readonly [Said, Said]) => Promise<() => Promise<unknown>>;

async function withRecord(
  scene: Scene,
  said: Said,
  changes: Partial<ReplyRecord>,
): Promise<() => Promise<unknown>> {
  const { truth } = scene.platform;
  const key = conversationKeys(scene.conversation()).reply({
    turn: turnId(said.trigger.id),
    attempt: 0,
  });
  const stored = (await truth.get(key)) ?? "";
  await truth.set(key, encodeRecord({ ...(await scene.record(said)), ...changes }));
  return async () => truth.set(key, stored);
}

const spoils: Readonly<Record<string, Spoil>> = {
  "a record says something else": async (scene, [said]) =>
    withRecord(scene, said, { text: "something else" }),
  "two turns have changed places": async (scene, [first, second]) => {
    const mend = await withRecord(scene, first, { seq: 2 });
    const mendOther = await withRecord(scene, second, { seq: 1 });
    return async () => Promise.all([mend(), mendOther()]);
  },
  "a block of the log is gone": async (scene) => {
    const { truth } = scene.platform;
    const { log } = conversationKeys(scene.conversation());
    const block = await truth.rpopBuffer(log);
    return async () => truth.rpush(log, block ?? "");
  },
  "a lease is left over": async (scene) => {
    const { truth } = scene.platform;
    const { lease } = conversationKeys(scene.conversation());
    await truth.set(lease, "9:left-over");
    return async () => truth.del(lease);
  },
  "what was said is unknown": async (scene, [said]) => {
    scene.said.splice(scene.said.indexOf(said), 1);
    return async () => scene.said.unshift(said);
  },
  "an answer is gone from Discord": async (scene, [, said]) => {
    for (const reply of scene.replies(said)) scene.double.deleteMessage(reply);
    return async () => undefined;
  },
};

test("each thing that is wrong is found", { timeout: 240_000 }, async () => {
  const scene = await Scene.open();
  try {
    const said = [scene.say("the first"), scene.say("the second")] as const;
    await check(scene);
    for (const [name, spoil] of Object.entries(spoils)) {
      const mend = await spoil(scene, said);
      await expect(check(scene, { looks: 3 }), name).rejects.toThrow();
      await mend();
    }
    await expect(check(scene), "the last one cannot be mended").rejects.toThrow();
  } finally {
    await scene.close();
  }
});

test("figures tell the middle and the worst", () => {
  const recorder = new Recorder();
  for (const ms of [30, 10, 20, 1_000]) recorder.add("a fault", 500, ms);
  recorder.add("another", 5, 1);
  const task = { meta: {} };
  recorder.save(task);
  expect(task.meta).toEqual({
    figures: [
      { fault: "a fault", rounds: 4, p50: 20, p99: 1_000, bound: 500 },
      { fault: "another", rounds: 1, p50: 1, p99: 1, bound: 5 },
    ],
  });
});
