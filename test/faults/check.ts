/**
 * What must hold when everything has come to rest, whatever happened before.
 *
 * For each channel: one record for each message, numbered without gap or repeat; a log that is one
 * chain; one answer in Discord for each message, and its text is the record's; and that text is what
 * the oracle foretold from this channel's messages alone, so that no state was lost, used twice or
 * mixed up. Nobody was mentioned. And all of test/invariants: what both servers hold and what Discord
 * shows fits together to the last key, and nothing is left over.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import type { ReplyRecord } from "#infra/turn/index.ts";
import { turnId } from "#infra/turn/index.ts";
import { Oracle } from "#test/doubles/backend/script.ts";
import type { Channel } from "#test/doubles/discord/index.ts";
import { checkAll, collect } from "#test/invariants/check.ts";
import type { SaidTurn } from "#test/invariants/turns.ts";
import { inWords, type Violation } from "#test/invariants/violation.ts";
import type { TestRedis } from "#test/platform/platform.ts";
import type { Said, Scene } from "./scene.ts";

const looksMax = 100;
const lookMs = 200;

export interface Expected {
  /** Events were reordered on their way: each channel's turns count in the order they got in. */
  readonly reordered?: boolean;
  /** Channels that are not to be looked at: they are gone, or a reply was cut short there. */
  readonly except?: readonly Channel[];
  /** How often to look whether what is on its way out has gone. */
  readonly looks?: number;
  /** Turns that came in by another way than Discord. */
  readonly also?: readonly SaidTurn[];
  /** Messages that must end as failed, with this code; all others are answered. */
  readonly failed?: ReadonlyMap<Said, string>;
}

/** Waits for rest, then checks. */
export async function check(scene: Scene<TestRedis>, expected: Expected = {}): Promise<void> {
  await scene.settled();
  if (expected.reordered === true) await sortBySeq(scene, scene.said);
  for (const channel of scene.channels) {
    if (expected.except?.includes(channel)) continue;
    const said = scene.said.filter((one) => one.channel === channel);
    await checkChannel(scene, { channel, said, ...expected });
  }
  expect(scene.double.counters().mentionsDelivered).toBe(0);
  if (expected.except === undefined) await checkEvidence(scene, expected);
}

/** What is on its way out (a lease, a note of a delivered reply) has a moment to go. */
async function checkEvidence(
  scene: Scene<TestRedis>,
  { also = [], looks = looksMax }: Expected,
): Promise<void> {
  const { platform, double, channels } = scene;
  const said = scene.said.map(({ channel, trigger }, order): SaidTurn => ({
    conversation: scene.conversation(channel),
    turn: turnId(trigger.id),
    acknowledged: true,
    order,
  }));
  const story = {
    said: [...said, ...also],
    quiet: true,
    marks: new Map(),
    translator: await loadTranslator(),
  };
  let violations: Violation[] = [];
  for (let look = 0; look < looks; look++) {
    violations = checkAll(await collect(platform, { double, channels }, story));
    if (violations.length === 0) return;
    await sleep(lookMs);
  }
  expect.fail(inWords(violations));
}

async function sortBySeq(scene: Scene<TestRedis>, said: Said[]): Promise<void> {
  const seqs = new Map<Said, number>();
  for (const one of said) seqs.set(one, (await scene.record(one))?.seq ?? 0);
  said.sort((a, b) => (seqs.get(a) ?? 0) - (seqs.get(b) ?? 0));
}

async function checkChannel(
  scene: Scene<TestRedis>,
  {
    channel,
    said,
    failed,
  }: Expected & { readonly channel: Channel; readonly said: readonly Said[] },
): Promise<void> {
  const conversation = scene.conversation(channel);
  const { ledger } = scene.platform;
  const records = await Promise.all(said.map(async (one) => scene.record(one)));
  expect(records.map((record) => record?.seq)).toEqual(said.map((_, index) => index + 1));
  const oracle = new Oracle(scene.tokenizer);
  for (const [index, one] of said.entries()) {
    const record = records[index];
    if (record === null || record === undefined) throw new Error(`no record of ${one.text}`);
    checkReply(scene, { said: one, record, code: failed?.get(one) ?? null, oracle });
  }
  const head = await ledger.logHead(conversation);
  expect(head.tokens).toBe(oracle.tokens);
  // Throws unless the log is one chain of blocks, each with its checksum.
  expect(await ledger.log(conversation, head)).not.toBeNull();
  const answers = scene.double.botMessages(channel).filter(({ replyTo }) => replyTo !== null);
  const triggers = new Set([...said, ...scene.refused].map(({ trigger }) => trigger.id));
  expect(answers.every(({ replyTo }) => triggers.has(replyTo?.id ?? ""))).toBe(true);
}

function checkReply(
  scene: Scene<TestRedis>,
  reply: {
    readonly said: Said;
    readonly record: ReplyRecord;
    readonly code: string | null;
    readonly oracle: Oracle;
  },
): void {
  const { said, record, code, oracle } = reply;
  scene.platform.mustNotBeLogged(record.text);
  const answers = scene.replies(said);
  expect(answers, `answers to ${said.text}`).toHaveLength(1);
  if (code !== null) {
    expect(record).toMatchObject({ status: "failed", code, text: "" });
    expect(answers[0]?.wire.content).toContain(code);
    return;
  }
  const foretold = oracle.reply(said.text);
  expect(record).toMatchObject({ status: "committed", code: null, text: foretold });
  expect(answers[0]?.wire.content).toBe(foretold);
}
