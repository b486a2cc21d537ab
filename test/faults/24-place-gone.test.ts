/**
 * Fault: while a reply is written its question is deleted, its channel goes, the bot may no longer
 *   write there, or the community throws it out.
 * Expected: the turn is stopped and nothing more is tried; a deleted place leaves nothing in truth.
 * Invariant: no answer to what is gone; others do not notice.
 * Bound: stopped within 2 s.
 */
import { expect, test } from "vitest";
import type { Channel } from "#test/doubles/discord/index.ts";
import { Permission } from "#test/doubles/discord/index.ts";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { type Said, Scene } from "./scene.ts";

/** Long enough that every reply is cut short. */
const long = "[words=400] [ms=50]";

test("a reply whose place is gone ends, and nothing else does", patience(1), async ({ task }) => {
  const scene = await Scene.open({ channels: 4 });
  const recorder = new Recorder();
  const [quiet, deleted, forbidden, other] = scene.channels as [Channel, Channel, Channel, Channel];
  const exile = scene.double.addGuild({ name: "Exile" });
  const exiled = scene.double.addChannel(exile, { name: "out" });
  try {
    for (let round = 0; round < rounds(1); round++) {
      const unanswered = await begin(scene, quiet);
      const denied = await begin(scene, forbidden);
      const beside = scene.say(`not concerned ${round} [words=60] [ms=30]`, other);
      const startedMs = performance.now();
      scene.double.deleteMessage(unanswered.trigger);
      await stopped(scene, unanswered);
      recorder.add("question deleted: stopped", 2_000, performance.now() - startedMs);
      expect(scene.replies(unanswered)).toEqual([]);
      scene.double.denyBot(forbidden, Permission.ViewChannel | Permission.SendMessages);
      await stopped(scene, denied);
      await scene.until(async () => (await scene.record(beside)) !== null, "the other reply");
      scene.double.denyBot(forbidden, 0n);
    }
    const inDeleted = await begin(scene, deleted);
    const inExile = await begin(scene, exiled);
    scene.double.world.deleteChannel(deleted);
    scene.double.world.loseGuild(exile, "removed");
    for (const { channel } of [inDeleted, inExile]) {
      await scene.until(async () => (await keysOf(scene, channel)).length === 0, "nothing left");
    }
    scene.said.splice(0, scene.said.length, ...scene.said.filter((one) => one.channel === other));
    scene.say("still here", other);
    await check(scene, { except: [quiet, deleted, forbidden] });
  } finally {
    await scene.close();
  }
  recorder.save(task);
});

async function begin(scene: Scene, channel: Channel): Promise<Said> {
  const said = scene.say(`does anybody read this ${long}`, channel);
  await scene.firstWords(said);
  return said;
}

async function stopped(scene: Scene, said: Said): Promise<void> {
  await scene.until(async () => (await scene.record(said))?.end === "stopped", "a stopped turn");
}

async function keysOf(scene: Scene, channel: Channel): Promise<string[]> {
  return scene.platform.truth.keys(`eyrie:{*:${scene.conversation(channel)}:*`);
}
