/** Turns for tests: everything has a sensible value, the test names what matters to it. */
import {
  conversationId,
  type ConversationId,
  type ReplyRecord,
  type Turn,
  turnId,
  userId,
} from "#infra/turn/index.ts";
import type { Claim } from "#infra/mailbox/mailbox.ts";

export const greedy = {
  temperature: 0,
  topP: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  penaltyDecay: 1,
};

export function aConversation(name = "test"): ConversationId {
  return conversationId(`cli-${name}`);
}

export function aTurn(id: number | string, values: Partial<Turn> = {}): Turn {
  return {
    id: turnId(String(id)),
    conversation: aConversation(),
    community: null,
    author: userId("7"),
    text: `message ${id}`,
    locale: "en-US",
    origin: { kind: "cli" },
    model: "eaglet",
    attempt: 0,
    receivedAtMs: 0,
    maxTokens: 48,
    sampling: greedy,
    ...values,
  };
}

export function aRecord(claim: Claim, values: Partial<ReplyRecord> = {}): ReplyRecord {
  return {
    turn: claim.head.id,
    attempt: claim.head.attempt,
    conversation: claim.conversation,
    author: claim.head.author,
    seq: claim.seq,
    status: "committed",
    end: "stop",
    text: `reply to ${claim.head.text}`,
    code: null,
    promptTokens: 3,
    replyTokens: 4,
    replayedTokens: 0,
    fence: claim.fence,
    model: claim.head.model,
    numericClass: "test",
    locale: claim.head.locale,
    origin: claim.head.origin,
    committedAtMs: 0,
    computeMs: 1,
    ...values,
  };
}
