/**
 * The promise, end to end: 20 channels × 10 messages as a burst, two workers, one of them killed with
 * SIGKILL half-way. 200 replies, in order per channel, none twice, every text equal to the ledger's.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { conversationId, turnId } from "#infra/turn/index.ts";
import { DiscordDouble } from "#test/doubles/discord/index.ts";
import { TestPlatform } from "#test/platform/platform.ts";

const channelCount = 20;
const messagesEach = 10;
const questions = ["Hello!", "Who are you?", "What can you do?", "How do I reset you?", "Thanks!"];

let platform: TestPlatform;
let double: DiscordDouble;

beforeAll(async () => {
  platform = await TestPlatform.start();
  double = await DiscordDouble.start();
});

afterAll(async () => {
  await platform.stop();
  await double.close();
});

test("200 replies survive a worker's death, each once, in order, equal to the ledger", async () => {
  const guild = double.addGuild({ name: "Burst" });
  const channels = Array.from({ length: channelCount }, (_, index) =>
    double.addChannel(guild, { name: `channel-${index}` }),
  );
  const users = channels.map((_, index) => double.addUser({ name: `user-${index}` }));
  for (const question of questions) platform.mustNotBeLogged(question);
  const workers = await Promise.all([platform.worker(), platform.worker()]);
  await platform.run("apps/gateway/main.ts", {
    DISCORD_TOKEN: double.token,
    DISCORD_API_URL: double.restUrl,
  });

  const triggers = channels.map((channel, index) => {
    const user = users[index];
    if (user === undefined) throw new Error("no user");
    return Array.from({ length: messagesEach }, (_, turn) =>
      double.userSays(channel, user, questions[turn % questions.length] ?? "", { mention: true }),
    );
  });

  const committed = async (): Promise<number> => {
    const summaries = channels.map(({ id }) =>
      platform.ledger.summary(conversationId(`discord-${id}`)),
    );
    return (await Promise.all(summaries)).reduce((sum, { turns }) => sum + turns, 0);
  };
  await expect.poll(committed, { timeout: 60_000, interval: 5 }).toBeGreaterThan(80);
  await workers[0]?.end("SIGKILL");
  const doneAtKill = await committed();
  expect(doneAtKill).toBeLessThan(channelCount * messagesEach);

  await expect.poll(committed, { timeout: 60_000 }).toBe(channelCount * messagesEach);
  // The last edit of every reply goes out at Discord's pace; then the outbox is empty.
  await expect
    .poll(async () => (await platform.ledger.outbox()).length, { timeout: 90_000 })
    .toBe(0);

  for (const [index, channel] of channels.entries()) {
    const conversation = conversationId(`discord-${channel.id}`);
    const replies = double.botMessages(channel);
    expect(replies).toHaveLength(messagesEach);
    for (const [turn, trigger] of (triggers[index] ?? []).entries()) {
      const answers = replies.filter(({ replyTo }) => replyTo?.id === trigger.id);
      const key = { turn: turnId(trigger.id), attempt: 0 };
      const record = await platform.ledger.reply(conversation, key);
      platform.mustNotBeLogged(record?.text ?? "");
      expect(record).toMatchObject({ status: "committed", seq: turn + 1 });
      expect(answers.map(({ wire }) => wire.content)).toEqual([record?.text]);
    }
    const { logHead } = await platform.ledger.summary(conversation);
    await platform.ledger.log(conversation, logHead);
  }
  expect(double.counters().mentionsDelivered).toBe(0);
  expect(double.counters().rateLimited).toBe(0);
}, 180_000);
