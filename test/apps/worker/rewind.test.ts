/**
 * Taking turns back, with real workers: a conversation whose turns were undone goes on word for word
 * as its twin that never had them.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { undoTurnsMax } from "#infra/ledger/past-turn.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { type ConversationId, type Turn } from "#infra/turn/index.ts";
import { TestPlatform, type Process } from "#test/platform/platform.ts";
import { type Boundary, Trap } from "#test/redis/trap.ts";
import { everything } from "../../infra/conversation/workshop.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

/** Sampled on purpose: equal seeds must say equal words. */
const sampling = {
  temperature: 1,
  topP: 0.9,
  presencePenalty: 0.2,
  frequencyPenalty: 0.2,
  penaltyDecay: 0.996,
};
const questions = ["Hello!", "Who are you?", "What can you do?", "How do I reset you?", "Danke!"];

let platform: TestPlatform;
let worker: Process;

beforeAll(async () => {
  platform = await TestPlatform.start();
  worker = await platform.worker();
});

afterAll(async () => {
  await platform.stop();
});

/** Turn `id`: the same in every conversation, whatever was said before. */
function ask(conversation: ConversationId, id: number, padding = ""): Turn {
  const text = `${padding}${questions[id % questions.length] ?? ""}`;
  return aTurn(id, { conversation, text, sampling, maxTokens: 24 });
}

async function talk(
  conversation: ConversationId,
  ids: readonly number[],
  padding = "",
): Promise<string[]> {
  const texts: string[] = [];
  for (const id of ids) {
    texts.push((await platform.exchange(ask(conversation, id, padding))).text);
  }
  return texts;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

async function standing(conversation: ConversationId): Promise<{ head: string; start: string }> {
  const { meta } = conversationKeys(conversation);
  const [head, start] = await platform.truth.hmget(meta, "logHead", "logStart");
  return { head: head ?? "", start: start ?? "0:0" };
}

const counts = range(1, undoTurnsMax);

describe.each([
  { way: "with the state in its slot", prepare: async () => undefined },
  {
    way: "after kill -9 and the loss of every snapshot, from the log",
    prepare: async () => {
      await worker.end("SIGKILL");
      await platform.state.flushall();
      worker = await platform.worker();
    },
  },
  {
    way: "after a clean stop, from a snapshot",
    prepare: async () => {
      await worker.end();
      worker = await platform.worker();
    },
  },
])("undo of 1 to 10 turns, $way", ({ way, prepare }) => {
  const name = (kind: string, count: number): ConversationId =>
    aConversation(`${kind}-${count}-${way.length}`);

  test("is as if they had never been", async () => {
    const last = undoTurnsMax + 1;
    await Promise.all(
      counts.flatMap((count) => [
        talk(name("undone", count), range(1, last)),
        talk(name("twin", count), range(1, last - count)),
      ]),
    );
    await prepare();
    const pairs = counts.map(async (count) => {
      const undone = name("undone", count);
      const rewound = await platform.conversations.undo(undone, count);
      expect(rewound?.turns).toHaveLength(count);
      const twin = name("twin", count);
      expect((await standing(undone)).head).toBe((await standing(twin)).head);
      const next = [100, 101];
      expect(await talk(undone, next)).toEqual(await talk(twin, next));
      expect((await standing(undone)).head).toBe((await standing(twin)).head);
    });
    await Promise.all(pairs);
  }, 120_000);
});

describe("a conversation so long that its log was trimmed", () => {
  /** Some 1,000 tokens in front of every question, so that snapshots come every few turns. */
  const padding = "one two three four five six seven eight nine ten ".repeat(40);
  const last = 22;
  const counts = [4, undoTurnsMax];
  const [twin, undone] = ["twin", "undone"].map((kind) =>
    counts.map((count) => aConversation(`long-${kind}-${count}`)),
  ) as [ConversationId[], ConversationId[]];

  test("keeps what an undo needs and drops the rest", async () => {
    await Promise.all(undone.map((conversation) => talk(conversation, range(1, last), padding)));
    for (const conversation of undone) {
      const { start } = await standing(conversation);
      expect(Number(start.split(":")[0])).toBeGreaterThan(0);
      const [horizon] = await platform.conversations.export(conversation).then(({ truth }) => {
        return truth["turns"]?.value as { from: string }[];
      });
      const reach = Number(start.split(":")[0]);
      expect(reach).toBeLessThanOrEqual(Number(horizon?.from.split(":")[1]));
      const snapshots = await platform.state.keys(`*{${conversation}}:snapshot:*`);
      expect(snapshots.length).toBeGreaterThan(1);
      expect(snapshots.length).toBeLessThan(4);
    }
  }, 240_000);

  test("and undo goes on as the twin does, by the snapshot before, in a worker that knows neither", async () => {
    for (const [index, count] of counts.entries()) {
      await talk(twin[index] ?? aConversation(), range(1, last - count), padding);
    }
    await worker.end("SIGKILL");
    worker = await platform.worker();
    for (const [index, count] of counts.entries()) {
      const [one, other] = [undone[index] ?? aConversation(), twin[index] ?? aConversation()];
      // The newest snapshots are lost as well: what is left is the one before the horizon.
      const [newest = ""] = await platform.state.zrevrange(`eyrie:{${one}}:snapshots`, 0, 0);
      await platform.state.del(`eyrie:{${one}}:snapshot:${newest}`);
      expect((await platform.conversations.undo(one, count))?.turns).toHaveLength(count);
      expect(await talk(one, [100, 101])).toEqual(await talk(other, [100, 101]));
      expect((await standing(one)).head).toBe((await standing(other)).head);
    }
    expect(worker.output).not.toContain("state lost");
  }, 240_000);
});

describe("regenerate", () => {
  test("says what the twin says that was only ever asked with that attempt", async () => {
    const [again, twin] = [aConversation("again"), aConversation("again-twin")];
    await talk(again, [1, 2]);
    await talk(twin, [1]);
    const key = { turn: aTurn(2).id, attempt: 0 };
    const outcome = await platform.conversations.regenerate(again, key);
    if (outcome.kind !== "waiting") throw new Error(outcome.kind);
    const { turn } = outcome;
    const wake = { conversation: again, headTurnId: turn.id, model: turn.model, traceId: turn.id };
    await platform.bell.ring(wake);
    const second = await platform.reply(turn);
    const only = await platform.exchange({ ...ask(twin, 2), attempt: 1 });
    expect(second.text).toBe(only.text);
    expect((await standing(again)).head).toBe((await standing(twin)).head);
    expect(await talk(again, [3])).toEqual(await talk(twin, [3]));
  });
});

describe("fork", () => {
  test("goes on as the source would, and neither side hears of the other", async () => {
    const [source, twin, fork] = ["source", "source-twin", "fork"].map((name) =>
      aConversation(name),
    ) as [ConversationId, ConversationId, ConversationId];
    await Promise.all([talk(source, [1, 2, 3]), talk(twin, [1, 2, 3])]);
    expect(await platform.conversations.fork(source, fork)).toEqual({ kind: "forked" });
    await talk(source, [50, 51]);
    expect(await talk(fork, [4, 5])).toEqual(await talk(twin, [4, 5]));
    await platform.conversations.delete(source);
    expect(await talk(fork, [6])).toEqual(await talk(twin, [6]));
  });
});

describe("a worker killed at a boundary, then an undo", () => {
  const boundaries: readonly (Boundary & { readonly committed: boolean })[] = [
    { script: "claim-conversation", side: "before", committed: false },
    { script: "claim-conversation", side: "after", committed: false },
    { script: "commit-turn", side: "before", committed: false },
    { script: "commit-turn", side: "after", committed: true },
    { script: "release-lease", side: "before", committed: true },
    { script: "release-lease", side: "after", committed: true },
  ];

  test.each(boundaries)(
    "$side $script",
    async ({ committed, ...boundary }) => {
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
      expect((await standing(cut)).head).toBe((await standing(twin)).head);
    },
    60_000,
  );
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
    expect((await standing(busy)).head).toBe((await standing(twin)).head);
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
    await expect.poll(left, { timeout: 10_000 }).toEqual([]);
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
