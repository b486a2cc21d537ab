/** A small platform that is in order, by hand: two conversations, three replies and one turn waiting. */
import { encodePastTurn } from "#infra/ledger/past-turn.ts";
import { advance, encodeBlock, formatLogHead, type LogHead } from "#infra/ledger/tokenlog.ts";
import { conversationKeys, openRepliesKey, outboxMember } from "#infra/redis/keys.ts";
import { encodeRecord } from "#infra/redis/record.ts";
import {
  type ConversationId,
  conversationId,
  type ReplyRecord,
  type Turn,
  turnId,
  userId,
} from "#infra/turn/index.ts";
import { aTurn } from "../infra/turns.ts";
import type { Evidence } from "./check.ts";
import type { ShownMessage } from "./discord.ts";
import type { StoredValue } from "./dump.ts";
import type { SaidTurn } from "./turns.ts";

export const here = conversationId("discord-1");
export const there = conversationId("discord-2");

/** Evidence that tests may spoil. */
export interface Story {
  readonly truth: Map<string, StoredValue>;
  readonly state: Map<string, StoredValue>;
  readonly said: SaidTurn[];
  readonly shown: ShownMessage[];
}

export function evidenceOf(story: Story, quiet = false): Evidence {
  const marks = new Map([here, there].map((id) => [id, markOf(id)] as const));
  return { ...story, quiet, marks, expected: ({ text }) => [text] };
}

export function markOf(conversation: ConversationId): string {
  return `said-in-${conversation}`;
}

export function storyTurn(conversation: ConversationId, id: number): Turn {
  const channelId = conversation.replace("discord-", "");
  return aTurn(id, {
    conversation,
    text: `${markOf(conversation)} ${id}`,
    origin: { kind: "discord-message", channelId, messageId: String(id) },
  });
}

export function storyRecord(conversation: ConversationId, id: number, seq: number): ReplyRecord {
  const { author, locale, model, origin } = storyTurn(conversation, id);
  return {
    turn: turnId(String(id)),
    attempt: 0,
    conversation,
    author,
    seq,
    status: "committed",
    end: "stop",
    text: `reply to ${markOf(conversation)} ${id}`,
    code: null,
    promptTokens: 1,
    replyTokens: 1,
    replayedTokens: 0,
    fence: seq,
    model,
    numericClass: "none",
    locale,
    origin,
    committedAtMs: 0,
    computeMs: 0,
  };
}

/** `here`: turns 11 and 12 answered and shown, 13 waiting. `there`: turn 21 answered, not shown yet. */
export function aStory(): Story {
  const story: Story = { truth: new Map(), state: new Map(), said: [], shown: [] };
  tell(story, here, { answered: [11, 12], waiting: [13], shown: true });
  tell(story, there, { answered: [21], waiting: [], shown: false });
  return story;
}

function tell(
  story: Story,
  conversation: ConversationId,
  plot: {
    readonly answered: readonly number[];
    readonly waiting: readonly number[];
    readonly shown: boolean;
  },
): void {
  const keys = conversationKeys(conversation);
  const blocks: Buffer[] = [];
  const past: string[] = [];
  let head: LogHead = { epoch: 0, tokens: 0, crc: 0 };
  const { answered, waiting } = plot;
  for (const [index, id] of answered.entries()) {
    const record = storyRecord(conversation, id, index + 1);
    blocks.push(encodeBlock(head, [id, id + 1]));
    past.push(encodePastTurn({ ...record, author: userId("7"), from: head }));
    head = advance(head, [id, id + 1]);
    story.truth.set(keys.reply(record), aText(encodeRecord(record)));
    if (plot.shown) show(story, record);
    else story.truth.set(keys.outbox, scores(outboxMember(conversation, record)));
  }
  const mail = waiting.map((id, index) => {
    const seq = answered.length + index + 1;
    return `${seq} ${id} 0 ${encodeRecord(storyTurn(conversation, id))}`;
  });
  const meta = { seq: answered.length + waiting.length, committedSeq: answered.length, fence: 9 };
  story.truth.set(keys.meta, hash({ ...meta, logHead: formatLogHead(head), logStart: "0:0" }));
  story.truth.set(keys.log, { kind: "list", values: blocks });
  story.truth.set(keys.turns, list(past));
  if (mail.length > 0) {
    story.truth.set(keys.mailbox, list(mail));
    story.truth.set(keys.dirty, scores(conversation));
  }
  for (const [order, id] of [...answered, ...waiting].entries()) {
    story.said.push({ conversation, turn: turnId(String(id)), acknowledged: true, order });
  }
}

function show(story: Story, record: ReplyRecord): void {
  const keys = conversationKeys(record.conversation);
  const channelId = record.conversation.replace("discord-", "");
  const id = `9${record.turn}`;
  story.shown.push({ id, channelId, content: record.text, answers: record.turn });
  story.truth.set(keys.delivery(record), hash({ 0: id }));
}

export function aText(value: string): StoredValue {
  return { kind: "string", value: Buffer.from(value) };
}

export function list(values: readonly string[]): StoredValue {
  return { kind: "list", values: values.map((value) => Buffer.from(value)) };
}

export function hash(fields: Readonly<Record<string, string | number>>): StoredValue {
  const pairs = Object.entries(fields).map(([k, v]) => [k, Buffer.from(String(v))] as const);
  return { kind: "hash", fields: new Map(pairs) };
}

export function scores(...members: readonly string[]): StoredValue {
  return { kind: "zset", scores: new Map(members.map((member) => [member, 1])) };
}

export const openKey = openRepliesKey("1");
