/**
 * Orders that meet a worker in the middle of a turn, and workers that die there: at the boundary of
 * every script that a turn runs through.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { conversationKeys } from "#infra/redis/keys.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { ask, placeOf, talk as talkOn } from "#test/platform/dialogue.ts";
import { TestPlatform, type Process } from "#test/platform/platform.ts";
import { type Boundary, Trap } from "#test/redis/trap.ts";
import { everything } from "../../infra/conversation/workshop.ts";
import { aConversation } from "../../infra/turns.ts";

// Workers are started again and again, each with a model to load.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 60_000 });

let platform: TestPlatform;
let worker: Process;

beforeAll(async () => {
  platform = await TestPlatform.start();
  worker = await platform.worker();
});

afterAll(async () => {
  await platform.stop();
});

const talk = (id: ConversationId, ids: readonly number[], padding = ""): Promise<string[]> =>
  talkOn(platform, id, { ids, padding });
const headOf = async (id: ConversationId): Promise<string> => (await placeOf(platform, id)).head;

describe("a worker killed at a boundary, then an undo", () => {
  const boundaries: readonly (Boundary & { readonly committed: boolean })[] = [
    { script: "claim-conversation", side: "before", committed: false },
    { script: "claim-conversation", side: "after", committed: false },
    { script: "commit-turn", side: "before", committed: false },
    { script: "commit-turn", side: "after", committed: true },
    { script: "release-lease", side: "before", committed: true },
    { script: "release-lease", side: "after", committed: true },
  ];

  test.each(boundaries)("$side $script", async ({ committed, ...boundary }) => {
    const name = `${boundary.side}-${boundary.script}`;
    const [cut, twin] = [aConversation(name), aConversation(`twin-${name}`)];
    await worker.end();
    const trap = await Trap.open(platform.truthServer.url, name);
    const doomed = await platform.worker({ REDIS_URL: trap.url });
    await talk(cut, [1, 2, 3]);
    const { lease } = conversationKeys(cut);
    await expect.poll(async () => platform.truth.exists(lease)).toBe(0);
    const sprung = trap.set(boundary);
    await platform.say(ask(cut, 4));
    await sprung;
    await doomed.end("SIGKILL");
    const rewound = await platform.conversations.undo(cut, 1);
    expect(rewound?.turns.map(({ turn }) => turn)).toEqual([committed ? "4" : "3"]);
    worker = await platform.worker();
    const cutTexts = await talk(cut, [5, 6]);
    await trap.close();
    // Not committed: the fourth turn waited, and is answered on what the undo left.
    await talk(twin, committed ? [1, 2, 3] : [1, 2, 4]);
    expect(cutTexts).toEqual(await talk(twin, [5, 6]));
    expect(await headOf(cut)).toBe(await headOf(twin));
  });
});

describe("in the middle of a turn", () => {
  let trap: Trap;

  beforeAll(async () => {
    await worker.end();
    trap = await Trap.open(platform.truthServer.url, "middle");
    worker = await platform.worker({ REDIS_URL: trap.url });
  });

  afterAll(async () => {
    await worker.end();
    await trap.close();
  });

  /**
   * Two turns, then a third that is held at a boundary while `act` is done. Where the log is read
   * the worker must not have the state in a slot.
   */
  async function interrupt(
    conversation: ConversationId,
    boundary: Boundary,
    act: () => Promise<unknown>,
  ): Promise<void> {
    await talk(conversation, [1, 2]);
    const { lease } = conversationKeys(conversation);
    await expect.poll(async () => platform.truth.exists(lease)).toBe(0);
    if (boundary.script === "read-conversation") await forget();
    const sprung = trap.set(boundary);
    await platform.say(ask(conversation, 3));
    await sprung;
    await act();
    trap.letGo();
  }

  const open: readonly Boundary[] = [
    { script: "claim-conversation", side: "after" },
    { script: "read-conversation", side: "before" },
    { script: "commit-turn", side: "before" },
  ];

  test.each(open)("an undo $side $script: the turn is answered on what is left", async (at) => {
    const name = `undo-${at.side}-${at.script}`;
    const [busy, twin] = [aConversation(name), aConversation(`twin-${name}`)];
    await interrupt(busy, at, async () => platform.conversations.undo(busy, 1));
    const record = await platform.reply(ask(busy, 3));
    expect([record.text, ...(await talk(busy, [4]))]).toEqual(
      (await talk(twin, [1, 3, 4])).slice(1),
    );
    expect(await headOf(busy)).toBe(await headOf(twin));
  });

  test.each(open)("a reset $side $script: the turn is answered afresh", async (at) => {
    const name = `reset-${at.side}-${at.script}`;
    const [busy, twin] = [aConversation(name), aConversation(`twin-${name}`)];
    await interrupt(busy, at, async () => platform.conversations.reset(busy));
    const record = await platform.reply(ask(busy, 3));
    expect([record.text, ...(await talk(busy, [4]))]).toEqual(await talk(twin, [3, 4]));
  });

  test.each(open)("a delete $side $script: nothing of it comes back", async (at) => {
    const busy = aConversation(`delete-${at.side}-${at.script}`);
    await interrupt(busy, at, async () => platform.conversations.delete(busy));
    const left = async (): Promise<string[]> => {
      const lines = [...(await everything(platform.truth)), ...(await everything(platform.state))];
      return lines.filter((line) => line.includes(busy));
    };
    // The wake that is being answered ends by itself.
    await expect.poll(left).toEqual([]);
    expect((await platform.exchange(ask(busy, 9))).seq).toBe(1);
  });

  test("an undo after the commit takes back the turn that was running", async () => {
    const [busy, twin] = [aConversation("undo-late"), aConversation("twin-undo-late")];
    const boundary: Boundary = { script: "commit-turn", side: "after" };
    await interrupt(busy, boundary, async () => platform.conversations.undo(busy, 1));
    expect(await talk(busy, [4])).toEqual((await talk(twin, [1, 2, 4])).slice(2));
  });

  /** So that the next turn has to read its log: no state is in a slot. */
  async function forget(): Promise<void> {
    await worker.end("SIGKILL");
    await platform.state.flushall();
    worker = await platform.worker({ REDIS_URL: trap.url });
  }
});
