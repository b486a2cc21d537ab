/**
 * One wake, one turn, where something has gone wrong around it: two real Redis, and an engine that says
 * one word and ends.
 */
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { Answerer, type AnswerParts } from "#apps/worker/turnloop/answer.ts";
import { Batch } from "#apps/worker/turnloop/batch.ts";
import { Parked } from "#apps/worker/turnloop/parked.ts";
import { Slots } from "#apps/worker/turnloop/slots.ts";
import { States, type StateEngine } from "#apps/worker/turnloop/states.ts";
import { systemClock } from "#infra/clock/clock.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { type ConversationId, conversationId } from "#infra/turn/index.ts";
import type { Wake } from "#infra/wake/wake.ts";
import { Workshop } from "../../infra/conversation/workshop.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

vi.setConfig({ testTimeout: 60_000 });

const model = "eaglet";
/** Tokens of a prompt: every turn is worth a snapshot. */
const promptTokens = 80;
const stateBytes = 300_000;

let shop: Workshop;
let answerer: Answerer;
let rung: Wake[];
/** What was logged, by message. */
let logged: Map<string, object[]>;

beforeAll(async () => {
  shop = await Workshop.open();
});

beforeEach(async () => {
  await shop.empty();
  [rung, logged] = [[], new Map()];
  answerer = anAnswerer();
});

afterAll(async () => {
  await shop.close();
});

function note(message: string, fields: object): void {
  logged.set(message, [...(logged.get(message) ?? []), fields]);
}

function anAnswerer(): Answerer {
  const log = { debug: note, info: note, warn: note, error: note } as unknown as AnswerParts["log"];
  const engine = {
    info: { config: {}, numericClass: "test", stateCodec: "f32", slots: 4 },
    writeState: async () => undefined,
    pack: async () => new Uint8Array(stateBytes),
    unpack: async () => ({ kind: "refused", reason: "bad-magic" }),
    settle: async (rows: readonly unknown[]) => rows.map(() => true),
    step: async ({ rows }: { rows: readonly { slot: number; sample?: unknown }[] }) => ({
      results: rows.map(({ sample, slot }) => {
        return { slot, token: sample === undefined ? null : 0, finite: true };
      }),
      computeMs: 1,
    }),
  };
  const { ledger, mailbox, snapshots, truth } = shop;
  const stores = { ledger, mailbox, snapshots };
  const states = new States(engine as unknown as StateEngine, stores, {
    fingerprint: "test",
    parked: new Parked(2 * stateBytes),
    clock: systemClock,
    log,
  });
  const metric = { inc: () => undefined, observe: () => undefined };
  return new Answerer({
    worker: "w1",
    numericClass: "test",
    fingerprint: "test",
    messageTokensMax: 4096,
    truth,
    mailbox,
    ledger,
    live: { publish: async () => undefined },
    stops: { listen: async () => async () => undefined },
    bell: { ring: async (wake: Wake) => void rung.push(wake) },
    tokenizer: {
      encode: () => Array.from({ length: promptTokens }, () => 5),
      bytesOf: () => Buffer.from("a"),
      stream: () => ({ pushBytes: String, flush: () => "" }),
    },
    batch: new Batch(engine as unknown as ConstructorParameters<typeof Batch>[0], () => undefined),
    slots: new Slots(4),
    states,
    clock: systemClock,
    metrics: new Proxy({}, { get: () => metric }),
    log,
  } as unknown as AnswerParts);
}

function answer(conversation: ConversationId): Promise<void> {
  return answerer.answer({ conversation, headTurnId: "", model, traceId: "t" });
}

/** One bit of the record of the turn that waits first. */
async function rot(conversation: ConversationId): Promise<void> {
  const { mailbox } = conversationKeys(conversation);
  const entry = (await shop.truth.lindexBuffer(mailbox, 0)) ?? Buffer.alloc(0);
  entry[entry.length - 2]! ^= 1;
  await shop.truth.lset(mailbox, 0, entry);
}

test("a turn that rotted in its mailbox ends at its first claim, by name; the next is rung for", async () => {
  const conversation = conversationId("discord-16180339887498948");
  const origin = {
    kind: "discord-message",
    channelId: "16180339887498948",
    messageId: "1",
  } as const;
  await shop.exchange(conversation, 9);
  for (const id of [1, 2]) await shop.mailbox.append(aTurn(id, { conversation, origin }));
  await rot(conversation);
  await answer(conversation);
  const key = { turn: aTurn(1).id, attempt: 0 };
  expect(await shop.ledger.reply(conversation, key)).toMatchObject({
    status: "failed",
    code: "RECORD_CORRUPT",
    seq: 2,
    origin,
  });
  expect(await shop.ledger.outbox()).toMatchObject([{ conversation, key }]);
  expect((await shop.mailbox.waiting(conversation)).map(({ id }) => id)).toEqual(["2"]);
  expect(rung).toMatchObject([{ conversation, model }]);
  // Nothing of it can be asked again, and nothing stands in the way of those who look at the last turn.
  const { last, lease, meta } = conversationKeys(conversation);
  expect(await shop.truth.exists(last, lease)).toBe(0);
  expect(await shop.truth.hget(meta, "headClaims")).toBe("0");
  await answer(conversation);
  const next = { turn: aTurn(2).id, attempt: 0 };
  expect(await shop.ledger.reply(conversation, next)).toMatchObject({
    status: "committed",
    seq: 3,
  });
});

test("while the state Redis is full, turns end, and the worker goes on from what it holds", async () => {
  const conversation = aConversation("full");
  try {
    await shop.state.config("SET", "maxmemory", "100000");
    for (const id of [1, 2, 3]) {
      await shop.mailbox.append(aTurn(id, { conversation }));
      await answer(conversation);
      const reply = await shop.ledger.reply(conversation, { turn: aTurn(id).id, attempt: 0 });
      expect(reply).toMatchObject({ status: "committed", replayedTokens: 0 });
      expect(await shop.truth.exists(conversationKeys(conversation).lease)).toBe(0);
    }
  } finally {
    await shop.state.config("SET", "maxmemory", "0");
  }
  expect(logged.get("the state Redis takes no writes")).toHaveLength(3);
  await shop.mailbox.append(aTurn(4, { conversation }));
  await answer(conversation);
  expect(await shop.snapshots.present(conversation)).toEqual([await shop.logHead(conversation)]);
});

test.each([
  ["whole", 3 + 1],
  ["lost", 1],
] as const)(
  "a reply that another worker began, on a state that is %s",
  async (state, replyTokens) => {
    const conversation = aConversation(`begun-${state}`);
    const { log, meta } = conversationKeys(conversation);
    await shop.exchange(conversation, 8);
    const start = await shop.logHead(conversation);
    await shop.exchange(conversation, 9);
    if (state === "lost") {
      // A log that was trimmed, and no snapshot.
      await shop.truth.lpop(log);
      await shop.truth.hset(meta, "logStart", start.split(":").slice(1).join(":"));
    }
    await shop.mailbox.append(aTurn(10, { conversation }));
    const drawn = { fingerprint: "test", tokens: [5, 6, 7] };
    await shop.mailbox.handOver(await shop.claim(conversation), drawn);
    await answer(conversation);
    expect(logged.has("state lost, replaying what the log keeps")).toBe(state === "lost");
    // The words that were drawn are gone on with only where their state is there.
    const reply = await shop.ledger.reply(conversation, { turn: aTurn(10).id, attempt: 0 });
    expect(reply).toMatchObject({ status: "committed", replyTokens });
  },
);
