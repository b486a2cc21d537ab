/**
 * Taking turns back, with real workers: a conversation whose turns were undone goes on word for word
 * as its twin that never had them.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { undoTurnsMax } from "#infra/ledger/past-turn.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { ask, placeOf, range, talk as talkOn } from "#test/platform/dialogue.ts";
import { TestPlatform, type Process } from "#test/platform/platform.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

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
      expect(await headOf(undone)).toBe(await headOf(twin));
      const next = [100, 101];
      expect(await talk(undone, next)).toEqual(await talk(twin, next));
      expect(await headOf(undone)).toBe(await headOf(twin));
    });
    await Promise.all(pairs);
  });
});

describe("a conversation so long that its log was trimmed", () => {
  /** Some 1,000 tokens in front of every question, so that snapshots come every few turns. */
  const padding = "one two three four five six seven eight nine ten ".repeat(40);
  const last = 22;
  const [undone, twin] = [aConversation("long"), aConversation("long-twin")];

  test("keeps what an undo needs and drops the rest", async () => {
    await talk(undone, range(1, last), padding);
    const reach = Number((await placeOf(platform, undone)).start.split(":")[0]);
    expect(reach).toBeGreaterThan(0);
    const { truth } = await platform.conversations.export(undone);
    const turns = (truth["turns"]?.value ?? []) as { from: string }[];
    expect(reach).toBeLessThanOrEqual(Number(turns[0]?.from.split(":")[1]));
    const snapshots = await platform.state.keys(`*{${undone}}:snapshot:*`);
    expect(snapshots.length).toBeGreaterThan(1);
    expect(snapshots.length).toBeLessThan(4);
  });

  test("and undo goes on as the twin, without its newest snapshot, in a new worker", async () => {
    await talk(twin, range(1, last - undoTurnsMax), padding);
    await worker.end("SIGKILL");
    worker = await platform.worker();
    const [newest = ""] = await platform.state.zrevrange(`eyrie:{${undone}}:snapshots`, 0, 0);
    await platform.state.del(`eyrie:{${undone}}:snapshot:${newest}`);
    const rewound = await platform.conversations.undo(undone, undoTurnsMax);
    expect(rewound?.turns).toHaveLength(undoTurnsMax);
    expect(await talk(undone, [100, 101])).toEqual(await talk(twin, [100, 101]));
    expect(await headOf(undone)).toBe(await headOf(twin));
    expect(worker.output).not.toContain("state lost");
  });
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
    expect(await headOf(again)).toBe(await headOf(twin));
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
    // The worker holds the source's state, so nothing is read again.
    expect((await platform.exchange(ask(fork, 4))).replayedTokens).toBe(0);
    await talk(source, [50, 51]);
    await talk(twin, [4]);
    expect(await talk(fork, [5])).toEqual(await talk(twin, [5]));
    await platform.conversations.delete(source);
    expect(await talk(fork, [6])).toEqual(await talk(twin, [6]));
  });
});
