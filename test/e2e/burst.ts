/**
 * A burst of messages through the whole platform while processes die, and what must hold after it.
 *
 * Every channel gets all its messages at once through the Discord double; processes are killed with
 * SIGKILL when so many turns are committed; then every message has exactly one reply, in order per
 * channel, whose text is the ledger's.
 */
import { expect } from "vitest";
import { type ConversationId, conversationId, turnId } from "#infra/turn/index.ts";
import { type Channel, DiscordDouble, type Message } from "#test/doubles/discord/index.ts";
import { type Process, TestPlatform } from "#test/platform/platform.ts";

export interface Burst {
  readonly channels: number;
  readonly messagesEach: number;
  /** Done when `atTurns` turns are committed; in ascending order. */
  readonly faults: readonly { readonly atTurns: number; readonly strike: Strike }[];
}

export interface Struck {
  readonly platform: TestPlatform;
  readonly workers: Process[];
  gateway: Process;
  /** A gateway for the same application, as a supervisor would start it again. */
  startGateway(): Promise<Process>;
}

export type Strike = (struck: Struck) => Promise<void>;

export interface BurstFigures {
  readonly replies: number;
  readonly seconds: number;
  readonly turnsReplayed: number;
  readonly rateLimited: number;
}

const questions = ["Hello!", "Who are you?", "What can you do?", "How do I reset you?", "Thanks!"];
const patience = { timeout: 120_000, interval: 5 };

export async function runBurst(burst: Burst): Promise<BurstFigures> {
  const platform = await TestPlatform.start();
  const double = await DiscordDouble.start();
  try {
    return await strikeAndCheck(burst, platform, double);
  } finally {
    await platform.stop();
    await double.close();
  }
}

async function strikeAndCheck(
  burst: Burst,
  platform: TestPlatform,
  double: DiscordDouble,
): Promise<BurstFigures> {
  const guild = double.addGuild({ name: "Burst" });
  const channels = Array.from({ length: burst.channels }, (_, index) =>
    double.addChannel(guild, { name: `channel-${index}` }),
  );
  const startGateway = (): Promise<Process> =>
    platform.run("apps/gateway/main.ts", {
      DISCORD_TOKEN: double.token,
      DISCORD_API_URL: double.restUrl,
    });
  const workers = await Promise.all([platform.worker(), platform.worker()]);
  const struck: Struck = { platform, workers, gateway: await startGateway(), startGateway };

  const startedMs = performance.now();
  for (const question of questions) platform.mustNotBeLogged(question);
  const triggers = channels.map((channel, index) => {
    const user = double.addUser({ name: `user-${index}` });
    return Array.from({ length: burst.messagesEach }, (_, turn) =>
      double.userSays(channel, user, questions[turn % questions.length] ?? "", { mention: true }),
    );
  });
  const all = burst.channels * burst.messagesEach;
  const committed = async (): Promise<number> => {
    const summaries = channels.map((channel) => platform.ledger.summary(conversationOf(channel)));
    return (await Promise.all(summaries)).reduce((sum, { turns }) => sum + turns, 0);
  };
  for (const { atTurns, strike } of burst.faults) {
    await expect.poll(committed, patience).toBeGreaterThanOrEqual(atTurns);
    const undelivered = (await platform.ledger.outbox()).length;
    expect(undelivered + all - (await committed()), "too late to matter").toBeGreaterThan(0);
    await strike(struck);
  }
  await expect.poll(committed, patience).toBe(all);
  // The last edit of every reply goes out at Discord's pace; then the outbox is empty.
  await expect.poll(async () => (await platform.ledger.outbox()).length, patience).toBe(0);
  const seconds = (performance.now() - startedMs) / 1000;

  let turnsReplayed = 0;
  for (const [index, channel] of channels.entries()) {
    const own = triggers[index] ?? [];
    turnsReplayed += await checkChannel(platform, double, { channel, triggers: own });
  }
  const { mentionsDelivered, rateLimited } = double.counters();
  expect(mentionsDelivered).toBe(0);
  return { replies: all, seconds: Math.round(seconds), turnsReplayed, rateLimited };
}

function conversationOf(channel: Channel): ConversationId {
  return conversationId(`discord-${channel.id}`);
}

/** Each message one reply, in order, equal to the ledger; returns how many turns were replayed to. */
async function checkChannel(
  platform: TestPlatform,
  double: DiscordDouble,
  said: { readonly channel: Channel; readonly triggers: readonly Message[] },
): Promise<number> {
  const conversation = conversationOf(said.channel);
  const replies = double.botMessages(said.channel);
  expect(replies).toHaveLength(said.triggers.length);
  let replayed = 0;
  for (const [turn, trigger] of said.triggers.entries()) {
    const key = { turn: turnId(trigger.id), attempt: 0 };
    const record = await platform.ledger.reply(conversation, key);
    expect(record).toMatchObject({ status: "committed", seq: turn + 1 });
    const answers = replies.filter(({ replyTo }) => replyTo?.id === trigger.id);
    expect(answers.map(({ wire }) => wire.content)).toEqual([record?.text]);
    platform.mustNotBeLogged(record?.text ?? "");
    if ((record?.replayedTokens ?? 0) > 0) replayed++;
  }
  // The log is one chain of blocks, each with its checksum.
  await platform.ledger.log(conversation, await platform.ledger.logHead(conversation));
  return replayed;
}
