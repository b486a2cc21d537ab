/** Conversations with a real worker that a test can repeat word for word. */
import { conversationKeys } from "#infra/redis/keys.ts";
import { type ConversationId, type Turn } from "#infra/turn/index.ts";
import { aTurn } from "../infra/turns.ts";
import type { TestPlatform, TestRedis } from "./platform.ts";

/** Sampled on purpose: equal seeds must say equal words. */
export const sampling = {
  temperature: 1,
  topP: 0.9,
  presencePenalty: 0.2,
  frequencyPenalty: 0.2,
  penaltyDecay: 0.996,
};
export const questions = [
  "Hello!",
  "Who are you?",
  "What can you do?",
  "How do I reset you?",
  "Danke!",
];

/** Turn `id`: the same in every conversation, whatever was said before. */
export function ask(conversation: ConversationId, id: number, padding = ""): Turn {
  const text = `${padding}${questions[id % questions.length] ?? ""}`;
  return aTurn(id, { conversation, text, sampling, maxTokens: 24 });
}

/** Asks these turns one after the other; returns the replies. */
export async function talk(
  platform: TestPlatform<TestRedis>,
  conversation: ConversationId,
  turns: { readonly ids: readonly number[]; readonly padding?: string },
): Promise<string[]> {
  const texts: string[] = [];
  for (const id of turns.ids) {
    texts.push((await platform.exchange(ask(conversation, id, turns.padding))).text);
  }
  return texts;
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

export interface Place {
  readonly head: string;
  readonly start: string;
}

/** Where a conversation's log ends and where what is kept of it begins. */
export async function placeOf(
  platform: TestPlatform<TestRedis>,
  conversation: ConversationId,
): Promise<Place> {
  const { meta } = conversationKeys(conversation);
  const [head, start] = await platform.truth.hmget(meta, "logHead", "logStart");
  return { head: head ?? "0:0:0", start: start ?? "0:0" };
}
