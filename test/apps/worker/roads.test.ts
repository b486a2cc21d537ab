/**
 * Whatever happens to a conversation between its turns, its state is the same to the bit. Texts could
 * agree by luck where states differ a little, so this compares the snapshots that workers leave.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { formatLogHead } from "#infra/ledger/tokenlog.ts";
import { snapshotIndexKey, snapshotKey } from "#infra/redis/keys.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import { TestPlatform } from "#test/platform/platform.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

const sampling = {
  temperature: 1,
  topP: 0.9,
  presencePenalty: 0.2,
  frequencyPenalty: 0.2,
  penaltyDecay: 0.996,
};
const questions = ["Hello!", "Who are you?", "Danke!", "What can you do?", "Tell me more.", "Bye!"];
/** Byte 10 of a snapshot, `kernels/state/format.md`. */
const int8 = 2;

/** Every life of a conversation starts a process. */
const patienceMs = 120_000;

let platform: TestPlatform;
let unbroken: { readonly texts: string[]; readonly state: Buffer };

beforeAll(async () => {
  platform = await TestPlatform.start();
  unbroken = { texts: await life("unbroken", 0, 6, "SIGTERM"), state: await stateOf("unbroken") };
}, patienceMs);

afterAll(async () => {
  await platform.stop();
});

async function talk(name: string, from: number, to: number): Promise<string[]> {
  const texts: string[] = [];
  for (let index = from; index < to; index++) {
    const values = { conversation: aConversation(name), text: questions[index] ?? "", sampling };
    texts.push((await platform.exchange(aTurn(index + 1, values))).text);
  }
  return texts;
}

/** The turns that one worker answers before it ends. */
async function life(
  name: string,
  from: number,
  to: number,
  end: NodeJS.Signals,
): Promise<string[]> {
  const worker = await platform.worker();
  const texts = await talk(name, from, to);
  await worker.end(end);
  return texts;
}

/** The newest snapshot of a conversation, which a worker saves when it is asked to end. */
async function stateOf(name: string): Promise<Buffer> {
  const conversation = aConversation(name);
  const store = new SnapshotStore(platform.state);
  const [head = ""] = await store.heads(conversation);
  expect(head).toBe(formatLogHead(await platform.ledger.logHead(conversation)));
  return (await store.read(conversation, head)) ?? Buffer.alloc(0);
}

async function forgetSnapshots(name: string): Promise<void> {
  const conversation = aConversation(name);
  const heads = await new SnapshotStore(platform.state).heads(conversation);
  for (const head of heads) await platform.state.del(snapshotKey(conversation, head));
  await platform.state.del(snapshotIndexKey(conversation));
}

test("the state of a conversation that was never interrupted is rounded to int8", () => {
  expect(unbroken.state[10]).toBe(int8);
  expect(new Set(unbroken.texts).size).toBeGreaterThan(2);
});

test(
  "from a snapshot",
  async () => {
    const before = await life("snapshot", 0, 3, "SIGTERM");
    const texts = [...before, ...(await life("snapshot", 3, 6, "SIGTERM"))];
    expect(texts).toEqual(unbroken.texts);
    expect((await stateOf("snapshot")).equals(unbroken.state)).toBe(true);
  },
  patienceMs,
);

test(
  "from the token log alone",
  async () => {
    const before = await life("log", 0, 3, "SIGKILL");
    await forgetSnapshots("log");
    const texts = [...before, ...(await life("log", 3, 6, "SIGTERM"))];
    expect(texts).toEqual(unbroken.texts);
    expect((await stateOf("log")).equals(unbroken.state)).toBe(true);
  },
  patienceMs,
);

test(
  "from a snapshot and the turns after it",
  async () => {
    const texts = await life("tail", 0, 2, "SIGTERM");
    texts.push(...(await life("tail", 2, 5, "SIGKILL")));
    texts.push(...(await life("tail", 5, 6, "SIGTERM")));
    expect(texts).toEqual(unbroken.texts);
    expect((await stateOf("tail")).equals(unbroken.state)).toBe(true);
  },
  patienceMs,
);

test.each([
  ["parked in memory", "parked", "64"],
  ["through a snapshot, without memory for it", "evicted", "0"],
])(
  "from one slot that others take in between: %s",
  async (_, name, parkedMib) => {
    const worker = await platform.worker({ EYRIE_SLOTS: "1", EYRIE_PARKED_MIB: parkedMib });
    const texts: string[] = [];
    for (let turn = 0; turn < 6; turn++) {
      texts.push(...(await talk(name, turn, turn + 1)));
      if (turn % 2 === 0) await talk(`${name}-other`, turn / 2, turn / 2 + 1);
    }
    await worker.end();
    expect(texts).toEqual(unbroken.texts);
    expect((await stateOf(name)).equals(unbroken.state)).toBe(true);
  },
  patienceMs,
);
