/** A story in order has no violation; each way of spoiling it is seen by its own kind. */
import { expect, test } from "vitest";
import { encodeBlock, parseLogHead } from "#infra/ledger/tokenlog.ts";
import { encodePastTurn } from "#infra/ledger/past-turn.ts";
import { conversationKeys, outboxMember } from "#infra/redis/keys.ts";
import { encodeRecord } from "#infra/redis/record.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { turnId, userId } from "#infra/turn/index.ts";
import { DiscordDouble } from "#test/doubles/discord/index.ts";
import { RedisServer } from "#test/redis/server.ts";
import { checkAll, collect } from "./check.ts";
import { expectedParts } from "./expected.ts";
import {
  aStory,
  evidenceOf,
  hash,
  here,
  list,
  openKey,
  scores,
  type Story,
  storyRecord,
  storyTurn,
  aText,
  there,
} from "./story.ts";
import { inWords, tally, type ViolationKind } from "./violation.ts";

const keys = conversationKeys(here);
const turn = (id: number) => ({ turn: turnId(String(id)), attempt: 0 });
const mail = (id: number, seq: number, conversation = here): string =>
  `${seq} ${id} 0 ${encodeRecord(storyTurn(conversation, id))}`;

function change(story: Story, key: string, by: (bytes: Buffer[]) => Buffer[]): void {
  const value = story.truth.get(key);
  if (value?.kind === "list") {
    story.truth.set(key, { kind: "list", values: by(value.values.map((one) => Buffer.from(one))) });
  } else if (value?.kind === "string") {
    const [changed = Buffer.alloc(0)] = by([Buffer.from(value.value)]);
    story.truth.set(key, { kind: "string", value: changed });
  } else throw new Error(`${key} holds no bytes`);
}

function flip([first = Buffer.alloc(0), ...rest]: Buffer[]): Buffer[] {
  first[first.length - 6]! ^= 1;
  return [first, ...rest];
}

function say(story: Story, content: string, id = "911", channelId = "1"): void {
  const index = story.shown.findIndex((message) => message.id === id);
  story.shown.splice(index, index < 0 ? 0 : 1, { id, channelId, content, answers: turnId("11") });
}

function meta(story: Story, fields: Readonly<Record<string, string | number>>): void {
  const value = story.truth.get(keys.meta);
  const before = value?.kind === "hash" ? [...value.fields].map(([k, v]) => [k, String(v)]) : [];
  story.truth.set(keys.meta, hash({ ...Object.fromEntries(before), ...fields }));
}

test("a story in order has no violation", () => {
  expect(checkAll(evidenceOf(aStory()))).toEqual([]);
});

const spoilt: readonly (readonly [string, ViolationKind, (story: Story) => void])[] = [
  ["a waiting turn vanishes", "lost", ({ truth }) => truth.delete(keys.mailbox)],
  ["a record vanishes", "lost", ({ truth }) => truth.delete(keys.reply(turn(11)))],
  [
    "an answered turn waits again",
    "duplicated",
    (story) => change(story, keys.mailbox, (values) => [Buffer.from(mail(12, 4)), ...values]),
  ],
  [
    "a turn is answered as two attempts",
    "duplicated",
    ({ truth }) => {
      const record = { ...storyRecord(here, 11, 4), attempt: 1 };
      truth.set(keys.reply(record), aText(encodeRecord(record)));
    },
  ],
  [
    "two records have one number",
    "duplicated",
    ({ truth }) => truth.set(keys.reply(turn(12)), aText(encodeRecord(storyRecord(here, 12, 1)))),
  ],
  [
    "a block of the log stands twice",
    "corrupt",
    (story) =>
      change(story, keys.log, ([first = Buffer.alloc(0), ...rest]) => [first, first, ...rest]),
  ],
  [
    "a turn is in the log twice",
    "duplicated",
    (story) => {
      const record = { ...storyRecord(here, 11, 1), author: userId("7") };
      const from = parseLogHead("0:0:0");
      const again = Buffer.from(encodePastTurn({ ...record, from }));
      change(story, keys.turns, ([first = Buffer.alloc(0)]) => [first, again]);
    },
  ],
  [
    "numbers are given in another order",
    "reordered",
    ({ truth }) => {
      truth.set(keys.reply(turn(11)), aText(encodeRecord(storyRecord(here, 11, 2))));
      truth.set(keys.reply(turn(12)), aText(encodeRecord(storyRecord(here, 12, 1))));
    },
  ],
  ["mail is older than the last commit", "reordered", (story) => meta(story, { committedSeq: 3 })],
  ["a number was never given out", "corrupt", (story) => meta(story, { seq: 2 })],
  ["a number has no turn", "lost", (story) => meta(story, { seq: 4 })],
  [
    "another's record stands here",
    "crossed",
    ({ truth }) => truth.set(keys.reply(turn(21)), aText(encodeRecord(storyRecord(there, 21, 4)))),
  ],
  [
    "another's mail stands here",
    "crossed",
    (story) =>
      change(story, keys.mailbox, (values) => [...values, Buffer.from(mail(22, 4, there))]),
  ],
  [
    "mail is of another community",
    "crossed",
    ({ truth }) => {
      const foreign = { ...storyTurn(here, 13), community: "5" };
      truth.set(keys.mailbox, list([`3 13 0 ${encodeRecord(foreign)}`]));
    },
  ],
  [
    "another's words are in a snapshot",
    "crossed",
    ({ state }) => state.set("eyrie:{7}:discord-2:snapshot", aText("said-in-discord-1")),
  ],
  ["another's words are shown", "crossed", (story) => say(story, "said-in-discord-2")],
  [
    "a reply is shown elsewhere",
    "crossed",
    (story) => say(story, storyRecord(here, 11, 1).text, "911", "2"),
  ],
  [
    "a key lies in another's bucket",
    "crossed",
    ({ truth }) => truth.set("eyrie:{99}:discord-1:stop:1", aText("1")),
  ],
  ["one bit of a block flips", "corrupt", (story) => change(story, keys.log, flip)],
  ["one bit of a record flips", "corrupt", (story) => change(story, keys.reply(turn(11)), flip)],
  ["one bit of mail flips", "corrupt", (story) => change(story, keys.mailbox, flip)],
  [
    "a block is another's, rightly encoded",
    "corrupt",
    (story) =>
      change(story, keys.log, ([, second = Buffer.alloc(0)]) => [
        encodeBlock(parseLogHead("0:0:0"), [21, 22]),
        second,
      ]),
  ],
  ["the log begins elsewhere", "corrupt", (story) => meta(story, { logStart: "2:7" })],
  [
    "a reply is shown twice",
    "duplicated",
    (story) => say(story, storyRecord(here, 11, 1).text, "999"),
  ],
  ["a shown reply vanishes", "lost", ({ shown }) => shown.splice(0, 1)],
  ["a shown reply says something else", "altered", (story) => say(story, "something else")],
  ["no sweeper would find the mail", "lost", ({ truth }) => truth.delete(keys.dirty)],
  [
    "the outbox names what is not there",
    "lost",
    ({ truth }) => truth.set(keys.outbox, scores(outboxMember(here, turn(14)))),
  ],
  [
    "too much mail",
    "unbounded",
    ({ truth }) => {
      const many = Array.from({ length: 18 }, (_, index) => mail(100 + index, index + 3));
      truth.set(keys.mailbox, list(many));
    },
  ],
];

test.each(spoilt)("%s: %s", (_, kind, spoil) => {
  const story = aStory();
  spoil(story);
  const violations = checkAll(evidenceOf(story));
  expect(tally(violations)[kind], inWords(violations)).toBeGreaterThan(0);
});

test("an append with an unknown outcome may have come to nothing", () => {
  const story = aStory();
  story.said.push({ conversation: here, turn: turnId("14"), acknowledged: false, order: 9 });
  expect(checkAll(evidenceOf(story))).toEqual([]);
});

test("a quiet platform has nothing left to do", () => {
  const story = aStory();
  story.truth.set(keys.lease, aText("1:a"));
  story.truth.set(openKey, hash({ [outboxMember(here, turn(13))]: "1" }));
  const { lost, unfinished } = tally(checkAll(evidenceOf(story, true)));
  // The turn that waits and the reply that is not shown; the lease and the open reply.
  expect([lost, unfinished]).toEqual([2, 2]);
});

test("a failed turn is shown as its error, in its language", async () => {
  const expected = expectedParts(await loadTranslator());
  const record = storyRecord(here, 11, 1);
  expect(expected(record)).toEqual([record.text]);
  const [part] = expected({ ...record, status: "failed", code: "TURN_FAILED", locale: "de" });
  expect(part).toContain("TURN_FAILED");
});

test("evidence is read from real servers", async () => {
  const redis = await RedisServer.start();
  const double = await DiscordDouble.start();
  const client = await redis.client();
  try {
    const { said, truth } = aStory();
    for (const [key, value] of truth) {
      if (value.kind === "string") await client.set(key, value.value);
      if (value.kind === "list") await client.rpush(key, ...value.values);
      if (value.kind === "hash") await client.hset(key, Object.fromEntries(value.fields));
      if (value.kind === "zset") {
        for (const [member, score] of value.scores) await client.zadd(key, score, member);
      }
    }
    const servers = { truth: client, state: client };
    const story = { said, marks: new Map(), quiet: false, translator: await loadTranslator() };
    const evidence = await collect(servers, { double, channels: [] }, story);
    expect(evidence.truth).toEqual(truth);
    // Nothing was shown in this double: both delivered replies are missed, and nothing else.
    expect(new Set(checkAll(evidence).map(({ kind }) => kind))).toEqual(new Set(["lost"]));
  } finally {
    client.disconnect();
    await double.close();
    await redis.stop();
  }
});
