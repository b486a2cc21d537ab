/**
 * `node eyrie.mjs --run test/faults/records.ts`: writes the records of a small platform, as this
 * commit keeps them, to `test/fixtures/records/<commit>.json`. Row 26 has later commits read them.
 *
 * Run it when a record's format is about to change, on the last commit before. What it plays is in
 * `story` and must stay as it is: the test tells the same story to the oracle.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { systemClock } from "#infra/clock/clock.ts";
import { OpenReplies, openReplyOf } from "#infra/discord/open-replies.ts";
import { SessionStore } from "#infra/discord/session-store.ts";
import type { Turn } from "#infra/turn/index.ts";
import { scriptedModelName } from "#test/doubles/backend/model.ts";
import { aConversation, aTurn } from "../infra/turns.ts";
import { Scene } from "./scene.ts";

export const fixtures = resolve(import.meta.dirname, "../fixtures/records");

/** Turns `answered` are in the ledger, `waiting` is in the mailbox. */
export const story = {
  conversations: ["snapshot", "log"].map((name) => aConversation(`before-${name}`)),
  answered: ["My name is Ada. [words=8]", "I live in a nest. [words=8]"],
  waiting: "Who am I? [words=8]",
  session: {
    sessionId: "session-of-the-last-version",
    sequence: 42,
    resumeURL: "wss://gateway.example",
    shardId: 0,
    shardCount: 1,
  },
};

export function storyTurn(conversation: number, index: number): Turn {
  return aTurn(1000 * (conversation + 1) + index, {
    conversation: story.conversations[conversation]!,
    model: scriptedModelName,
    text: [...story.answered, story.waiting][index]!,
    maxTokens: 200,
  });
}

export interface Records {
  readonly commit: string;
  readonly truth: readonly StoredKey[];
  readonly state: readonly StoredKey[];
}

/** A key as Redis' own DUMP gives it, in base64. */
export interface StoredKey {
  readonly key: string;
  readonly value: string;
}

async function play(): Promise<Records> {
  const scene = await Scene.open({ gateway: false });
  const { platform } = scene;
  try {
    for (const index of story.answered.keys()) {
      for (const conversation of story.conversations.keys()) {
        await platform.exchange(storyTurn(conversation, index));
      }
    }
    // Its end saves a snapshot of both conversations; one of them loses it.
    await scene.workers[0]?.end("SIGTERM");
    const snapshots = await platform.state.keys(`*${story.conversations[1]}*`);
    await platform.state.del(...snapshots);
    for (const conversation of story.conversations.keys()) {
      await platform.mailbox.append(storyTurn(conversation, story.answered.length));
    }
    await new OpenReplies(platform.truth, "1").save(openReplyOf(storyTurn(0, 0)));
    const sessions = new SessionStore(platform.truth, {
      applicationId: "1",
      clock: systemClock,
      onError: () => {},
    });
    sessions.update(0, story.session);
    await sessions.flush();
    return {
      commit: execFileSync("git", ["rev-parse", "HEAD"]).toString().trim(),
      truth: await dump(platform.truth),
      state: await dump(platform.state),
    };
  } finally {
    await scene.close();
  }
}

async function dump(redis: Scene["platform"]["truth"]): Promise<StoredKey[]> {
  const keys = (await redis.keys("eyrie:*")).filter((key) => !/:lease$|:workers:/.test(key));
  return Promise.all(
    keys.sort().map(async (key) => {
      const value = (await redis.dumpBuffer(key)) as Buffer | null;
      return { key, value: (value ?? Buffer.alloc(0)).toString("base64") };
    }),
  );
}

if (import.meta.main) {
  const records = await play();
  mkdirSync(fixtures, { recursive: true });
  const path = join(fixtures, `${records.commit.slice(0, 8)}.json`);
  writeFileSync(path, `${JSON.stringify(records, undefined, 2)}\n`);
  console.log(path);
  process.exit();
}
