/**
 * Fault: a new version meets what the one before has stored, with turns of it still waiting.
 * Expected: it reads every record of its predecessor; scripts are named by their content, so those of
 *   both versions may be used side by side.
 * Invariant: conversations go on as if there had been no update: a worker answers the waiting turns
 *   as the oracle foretells, from the old snapshot and from the old log.
 * Bound: 0 errors.
 *
 * The records are fixtures of earlier commits, not a second checkout: a clone need not have the
 * history that the last version's code would have to come from.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "#infra/clock/clock.ts";
import { OpenReplies, openReplyOf } from "#infra/discord/open-replies.ts";
import { SessionStore } from "#infra/discord/session-store.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { Oracle } from "#test/doubles/backend/script.ts";
import { fixtures, type Records, type StoredKey, story, storyTurn } from "./records.ts";
import { Scene } from "./scene.ts";

const files = readdirSync(fixtures);

test.for(files)("records of %s are gone on with", { timeout: 120_000 }, async (file) => {
  const records = JSON.parse(readFileSync(join(fixtures, file), "utf8")) as Records;
  const scene = await Scene.open({ workers: 0, gateway: false });
  const { platform } = scene;
  try {
    await restore(platform.truth, records.truth);
    await restore(platform.state, records.state);
    await scene.startWorker();
    for (const conversation of story.conversations.keys()) {
      await checkStory(scene, conversation);
    }
    expect(platform.output).not.toContain("snapshot refused");
    expect(await new OpenReplies(platform.truth, "1").all(rethrow)).toEqual([
      openReplyOf(storyTurn(0, 0)),
    ]);
    const sessions = new SessionStore(platform.truth, {
      applicationId: "1",
      clock: systemClock,
      onError: rethrow,
    });
    expect(await sessions.retrieve(0)).toEqual(story.session);
  } finally {
    await scene.close();
  }
});

async function checkStory({ platform, tokenizer }: Scene, conversation: number): Promise<void> {
  const oracle = new Oracle(tokenizer);
  for (const index of [...story.answered, story.waiting].keys()) {
    const turn = storyTurn(conversation, index);
    const foretold = oracle.reply(turn.text);
    // The one that waited is woken by nobody but the sweeper.
    const record = await platform.reply(turn, 60_000);
    expect(record).toMatchObject({ text: foretold, seq: index + 1, status: "committed" });
    if (index < story.answered.length) continue;
    const before = record.replayedTokens;
    if (conversation === 0) expect(before).toBe(0);
    else expect(before).toBeGreaterThan(0);
  }
  const turns = [...story.answered.keys(), story.answered.length];
  expect((await platform.ledger.summary(turnOf(conversation))).turns).toBe(turns.length);
}

function rethrow(error: unknown): never {
  throw error;
}

function turnOf(conversation: number) {
  return story.conversations[conversation]!;
}

async function restore(redis: ScriptedRedis, keys: readonly StoredKey[]): Promise<void> {
  for (const { key, value } of keys) await redis.restore(key, 0, Buffer.from(value, "base64"));
}
