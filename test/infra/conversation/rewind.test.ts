/** Undo, regenerate and reset on real scripts and a real redis-server. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { rewoundKeptSeconds } from "#infra/ledger/history.ts";
import { undoTurnsMax } from "#infra/ledger/past-turn.ts";
import { parseLogHead } from "#infra/ledger/tokenlog.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { aConversation, aRecord, aTurn } from "../turns.ts";
import { everything, Workshop } from "./workshop.ts";

const conversation = aConversation("rewind");
const keys = conversationKeys(conversation);
let workshop: Workshop;

beforeAll(async () => {
  workshop = await Workshop.open();
});

afterAll(async () => workshop.close());

beforeEach(async () => workshop.empty());

/** `count` turns, then the log heads before each of them and after the last. */
async function talk(count: number, from = 1): Promise<string[]> {
  const heads: string[] = [await workshop.logHead(conversation)];
  for (let id = from; id < from + count; id++) {
    await workshop.exchange(conversation, 10 * id);
    heads.push(await workshop.logHead(conversation));
  }
  return heads;
}

describe("undo", () => {
  test.each([1, 2, 5, 9, undoTurnsMax])(
    "of %d turns leaves the log as if they had never been",
    async (count) => {
      const heads = await talk(15);
      const rewound = await workshop.conversations.undo(conversation, count);
      expect(rewound?.turns.map(({ turn }) => Number(turn))).toEqual(
        Array.from({ length: count }, (_, index) => 10 * (16 - count + index)),
      );
      expect(rewound?.tokens).toBe(2 * count);
      expect(await workshop.logHead(conversation)).toBe(heads[15 - count]);
      expect(await workshop.tokens(conversation)).toHaveLength(2 * (15 - count));
      // The conversation goes on from there, and the turns that are left can be undone, too.
      await workshop.exchange(conversation, 999);
      expect(await workshop.tokens(conversation)).toHaveLength(2 * (16 - count));
      const again = await workshop.conversations.undo(conversation, undoTurnsMax);
      expect(again?.turns).toHaveLength(Math.min(undoTurnsMax, undoTurnsMax - count + 1));
    },
  );

  test("takes back what there is, and nothing when there is nothing", async () => {
    expect(await workshop.conversations.undo(conversation, 3)).toBeNull();
    await talk(2);
    expect((await workshop.conversations.undo(conversation, 5))?.turns).toHaveLength(2);
    expect(await workshop.conversations.undo(conversation, 1)).toBeNull();
    expect(await workshop.logHead(conversation)).toBe("0:0:0");
  });

  test("ordered once is done once, whatever is said before the order comes again", async () => {
    await talk(3);
    const first = await workshop.conversations.undo(conversation, 1, "order");
    await workshop.exchange(conversation, 77);
    const before = await everything(workshop.truth);
    expect(await workshop.conversations.undo(conversation, 1, "order")).toEqual(first);
    expect(await everything(workshop.truth)).toEqual(before);
    expect(await workshop.truth.ttl(keys.rewound("order"))).toBeGreaterThan(
      rewoundKeptSeconds - 60,
    );
  });

  test("does not count turns that failed or said nothing", async () => {
    await talk(2);
    await workshop.exchange(conversation, 55, { tokens: [] });
    const rewound = await workshop.conversations.undo(conversation, 1);
    expect(rewound?.turns.map(({ turn }) => turn)).toEqual(["20"]);
  });

  test("numbers go on growing", async () => {
    await talk(3);
    await workshop.conversations.undo(conversation, 2);
    await workshop.mailbox.append(aTurn(500, { conversation }));
    expect((await workshop.claim(conversation)).seq).toBe(4);
  });

  test("drops the snapshots of what was taken back, and no other", async () => {
    const heads = await talk(4);
    for (const head of heads.slice(1)) await workshop.snapshot(conversation, head);
    await workshop.conversations.undo(conversation, 2);
    expect(await workshop.snapshots.heads(conversation)).toEqual([heads[2], heads[1]]);
    expect(await workshop.snapshots.read(conversation, heads[4] ?? "")).toBeNull();
  });

  test("a turn that is running meanwhile cannot commit, and is answered on what is left", async () => {
    const heads = await talk(3);
    await workshop.mailbox.append(aTurn(400, { conversation }));
    const running = await workshop.claim(conversation);
    await workshop.conversations.undo(conversation, 1);
    expect(await workshop.commit(running, [1, 2, 3])).toEqual({ kind: "log-moved" });
    const again = await workshop.claim(conversation);
    expect(again).toMatchObject({ head: { id: "400" }, logHead: heads[2] });
    expect((await workshop.commit(again, [1])).kind).toBe("committed");
    expect(await workshop.tokens(conversation)).toEqual([10, 11, 20, 21, 1]);
  });

  test("a log that moved between look and deed is looked at again", async () => {
    await talk(2);
    const { truth } = workshop;
    const rewind = truth.rewindConversation.bind(truth);
    let moved = false;
    truth.rewindConversation = async (...args) => {
      if (!moved) {
        moved = true;
        await workshop.exchange(conversation, 30);
      }
      return rewind(...args);
    };
    try {
      const rewound = await workshop.conversations.undo(conversation, 1);
      expect(rewound?.turns.map(({ turn }) => turn)).toEqual(["30"]);
    } finally {
      truth.rewindConversation = rewind;
    }
    expect(await workshop.tokens(conversation)).toEqual([10, 11, 20, 21]);
  });
});

describe("regenerate", () => {
  const first = { turn: aTurn(20).id, attempt: 0 };

  test("asks the last turn again as its next attempt, in the same messages", async () => {
    const heads = await talk(2);
    await workshop.ledger.notePart(conversation, first, { index: 0, messageId: "900" });
    const outcome = await workshop.conversations.regenerate(conversation, first);
    expect(outcome).toMatchObject({ kind: "waiting", turn: { id: "20", attempt: 1 } });
    const next = { ...first, attempt: 1 };
    expect(await workshop.ledger.reply(conversation, first)).toBeNull();
    expect(await workshop.ledger.parts(conversation, next)).toEqual(["900"]);
    const claim = await workshop.claim(conversation);
    expect(claim).toMatchObject({ seq: 3, logHead: heads[1], head: { attempt: 1 } });
    await workshop.commit(claim, [7]);
    expect(await workshop.tokens(conversation)).toEqual([10, 11, 7]);
    expect((await workshop.history.turns(conversation)).map(({ attempt }) => attempt)).toEqual([
      0, 1,
    ]);
    // And again.
    expect(await workshop.conversations.regenerate(conversation, next)).toMatchObject({
      turn: { attempt: 2 },
    });
  });

  test("works for a turn that failed, and takes nothing else back", async () => {
    await talk(1);
    await workshop.exchange(conversation, 20, { tokens: [] });
    const outcome = await workshop.conversations.regenerate(conversation, first);
    expect(outcome).toMatchObject({ kind: "waiting", rewound: { tokens: 0 } });
    expect(await workshop.tokens(conversation)).toEqual([10, 11]);
  });

  test("an undelivered reply leaves the outbox with its record", async () => {
    const origin = { kind: "discord-message", channelId: "5", messageId: "20" } as const;
    await workshop.exchange(conversation, 20, { turn: { origin } });
    expect(await workshop.ledger.outbox()).toHaveLength(1);
    await workshop.conversations.regenerate(conversation, first);
    expect(await workshop.ledger.outbox()).toEqual([]);
  });

  test("is refused when another turn was answered, waits, or the turn was taken back", async () => {
    await talk(3);
    expect(await workshop.conversations.regenerate(conversation, first)).toEqual({
      kind: "not-last",
    });
    const last = { turn: aTurn(30).id, attempt: 0 };
    await workshop.mailbox.append(aTurn(40, { conversation }));
    expect(await workshop.conversations.regenerate(conversation, last)).toEqual({
      kind: "not-last",
    });
    await workshop.commit(await workshop.claim(conversation), [4]);
    await workshop.conversations.undo(conversation, 1);
    const undone = { turn: aTurn(40).id, attempt: 0 };
    expect(await workshop.conversations.regenerate(conversation, undone)).toEqual({
      kind: "not-last",
    });
  });

  test("ordered once is done once: its turn waits, or is answered", async () => {
    await talk(2);
    const one = await workshop.conversations.regenerate(conversation, first, "order");
    expect(await workshop.conversations.regenerate(conversation, first, "order")).toEqual(one);
    await workshop.commit(await workshop.claim(conversation), [9]);
    const before = await everything(workshop.truth);
    expect(await workshop.conversations.regenerate(conversation, first, "order")).toEqual({
      kind: "answered",
    });
    expect(await everything(workshop.truth)).toEqual(before);
  });

  test("a worker that has not heard of its own commit commits nothing more", async () => {
    await talk(1);
    await workshop.mailbox.append(aTurn(20, { conversation }));
    const claim = await workshop.claim(conversation);
    const work = { startedFrom: parseLogHead(claim.logHead), tokens: [5] };
    const commit = async () => workshop.ledger.commit(claim, aRecord(claim), work);
    expect((await commit()).kind).toBe("committed");
    await workshop.conversations.regenerate(conversation, first);
    expect(await commit()).toEqual({ kind: "log-moved" });
    expect(await workshop.tokens(conversation)).toEqual([10, 11]);
  });

  test("is refused whole when Redis takes nothing in", async () => {
    await talk(2);
    const before = await everything(workshop.truth);
    await workshop.truth.config("SET", "maxmemory", "1");
    try {
      await expect(workshop.conversations.regenerate(conversation, first)).rejects.toThrow("OOM");
      expect(await everything(workshop.truth)).toEqual(before);
      // Taking back frees memory: that must work.
      expect(await workshop.conversations.undo(conversation, 1)).toMatchObject({ tokens: 2 });
    } finally {
      await workshop.truth.config("SET", "maxmemory", "0");
    }
  });
});

describe.each([
  ["undo", async (): Promise<unknown> => workshop.conversations.undo(conversation, 1)],
  ["reset", async (): Promise<unknown> => workshop.conversations.reset(conversation)],
] as const)("%s", (_, takeBack) => {
  test("drops what the running reply has drawn on a log that is no more", async () => {
    await talk(2);
    await workshop.mailbox.append(aTurn(500, { conversation }));
    const drawn = { fingerprint: "f", tokens: [5, 6, 7] };
    await workshop.mailbox.handOver(await workshop.claim(conversation), drawn);
    expect(await workshop.truth.exists(keys.partial)).toBe(1);
    await takeBack();
    expect(await workshop.truth.exists(keys.partial)).toBe(0);
  });
});

describe("reset", () => {
  test("forgets all, once for each order, with every snapshot", async () => {
    const heads = await talk(3);
    await workshop.snapshot(conversation, heads[3] ?? "");
    expect(await workshop.conversations.reset(conversation, "order")).toBe(6);
    expect(await workshop.logHead(conversation)).toBe("1:0:0");
    expect(await everything(workshop.state)).toEqual([]);
    await workshop.exchange(conversation, 70);
    expect(await workshop.conversations.reset(conversation, "order")).toBe(6);
    expect(await workshop.tokens(conversation)).toEqual([70, 71]);
    expect(await workshop.conversations.undo(conversation, 5)).toMatchObject({ tokens: 2 });
  });

  test("of a conversation that has rotted begins it anew", async () => {
    await talk(3);
    const [log, turns] = [keys.log, keys.turns];
    for (const key of [log, turns]) await workshop.truth.lset(key, 1, "rotten");
    expect(await workshop.conversations.reset(conversation)).toBe(6);
    await workshop.exchange(conversation, 70);
    expect(await workshop.tokens(conversation)).toEqual([70, 71]);
  });

  test("of what never was writes nothing", async () => {
    expect(await workshop.conversations.reset(conversation)).toBe(0);
    expect(await everything(workshop.truth)).toEqual([]);
  });
});
