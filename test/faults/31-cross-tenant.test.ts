/**
 * Fault: many communities share a worker: slots are reused, rows stand beside each other in a batch.
 * Expected: a slot holds nothing of its former owner, a row draws from its own state.
 * Invariant: what a conversation says is the same to the letter alone and in any mix; real weights,
 *   sampled hot, more conversations than slots.
 * Bound: equal texts, for every conversation.
 */
import { expect, test } from "vitest";
import { seededRandom } from "#test/doubles/discord/faults.ts";
import { TestPlatform } from "#test/platform/platform.ts";
import { aConversation, aTurn } from "../infra/turns.ts";
import { patience, rounds } from "./figures.ts";

const conversations = 6;
const turnsEach = 3;
const slots = "4";
const sampling = {
  temperature: 2,
  topP: 0.95,
  presencePenalty: 0.2,
  frequencyPenalty: 0.2,
  penaltyDecay: 0.996,
};
const openings = ["My cat is called", "Ich heiße", "My favourite number is", "Tell me about"];

test("a conversation says the same alone and among strangers", patience(1), async () => {
  const platform = await TestPlatform.start();
  try {
    await platform.worker({ EYRIE_SLOTS: slots });
    const alone: string[][] = [];
    for (let one = 0; one < conversations; one++) alone.push(await talk(platform, "alone", one));
    for (let round = 0; round < rounds(1); round++) {
      const random = seededRandom(1 + round);
      const mixed = await Promise.all(
        alone.map(async (_, one) => talk(platform, `mixed-${round}`, one, random)),
      );
      expect(mixed).toEqual(alone);
    }
    expect(new Set(alone.flat()).size).toBeGreaterThan(conversations);
  } finally {
    await platform.stop();
  }
});

/** Conversation `one` of a family: its turns have the same ids, and so seeds, in every family. */
async function talk(
  platform: TestPlatform,
  family: string,
  one: number,
  random?: () => number,
): Promise<string[]> {
  const texts: string[] = [];
  for (let turn = 0; turn < turnsEach; turn++) {
    if (random !== undefined) await pause(random() * 300);
    const said = aTurn(1000 * (one + 1) + turn, {
      conversation: aConversation(`${family}-${one}`),
      text: `${openings[(one + turn) % openings.length]} number ${one}.`,
      sampling,
      maxTokens: 16 + 4 * one,
    });
    await platform.say(said);
    texts.push((await platform.reply(said, 60_000)).text);
  }
  return texts;
}

async function pause(ms: number): Promise<void> {
  await new Promise((done) => setTimeout(done, ms));
}
