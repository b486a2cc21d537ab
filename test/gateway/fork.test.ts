/** Forks as people in Discord meet them, and conversations whose place is gone. */
import { afterEach, describe, expect, test } from "vitest";
import { conversationId } from "#infra/turn/index.ts";
import { type Channel, Permission } from "#test/doubles/discord/index.ts";
import { contentOf, isPrivate, Stage } from "./stage.ts";

const createThread = "POST /channels/:channel/messages/:message/threads";

let stage: Stage;

afterEach(async () => stage.close());

function threadOf(channel: Channel): Channel | undefined {
  return [...stage.discord.world.channels.values()].find((one) => one.parentId === channel.id);
}

function fork(options: { title?: string } = {}) {
  return stage.discord.userRunsCommand(stage.channel, stage.ada, "fork", { options });
}

describe("/fork", () => {
  test("opens a thread that remembers, and both sides go their own way", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    await stage.exchange("two", "Second.");
    const answer = await fork({ title: "what if" }).reply();
    const thread = threadOf(stage.channel);
    if (thread === undefined) throw new Error("no thread");
    expect(thread.name).toBe("what if");
    expect(contentOf(answer)).toContain(`<#${thread.id}>`);
    expect(isPrivate(answer, stage.ada)).toBe(true);
    const greeting = await stage.discord.waitForReply(thread);
    expect(contentOf(greeting)).toContain(`<#${stage.channel.id}>`);

    const there = conversationId(`discord-${thread.id}`);
    expect(await stage.tokens(there)).toBe(6);
    stage.discord.userSays(thread, stage.ada, "go on", { mention: true });
    const claim = await stage.worker.claim(there);
    await stage.worker.commit(claim, "In the thread.");
    await stage.discord.waitForReply(thread, (one) => contentOf(one) === "In the thread.");
    expect(await stage.tokens()).toBe(6);
    await stage.discord.userRunsCommand(stage.channel, stage.ada, "reset").reply();
    expect(await stage.tokens(there)).toBe(9);
    expect(await stage.truth.hlen(`eyrie:gateway:${stage.discord.applicationId}:forks`)).toBe(0);
    expect(stage.discord.counters().mentionsDelivered).toBe(0);
  });

  test("of nothing says CONVERSATION_EMPTY and leaves nothing in the channel", async () => {
    stage = await Stage.open();
    expect(contentOf(await fork().reply())).toMatch(/nothing here to go on from/);
    expect(stage.shown()).toEqual([]);
  });

  test("in a direct message or in a thread says FORK_NOT_HERE", async () => {
    stage = await Stage.open();
    const direct = stage.discord.directChannel(stage.ada);
    const run = stage.discord.userRunsCommand(direct, stage.ada, "fork");
    expect(contentOf(await run.reply())).toMatch(/^A thread cannot start here/);
    await stage.exchange("one", "First.");
    await fork().reply();
    const thread = threadOf(stage.channel);
    if (thread === undefined) throw new Error("no thread");
    const inside = stage.discord.userRunsCommand(thread, stage.ada, "fork");
    expect(contentOf(await inside.reply())).toMatch(/^A thread cannot start here/);
  });

  test("without the right to open threads says FORK_FORBIDDEN", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    stage.discord.denyBot(stage.channel, Permission.CreatePublicThreads);
    expect(contentOf(await fork().reply())).toMatch(/^Discord does not let a thread/);
    stage.discord.denyBot(stage.channel, 0n);
    const { id } = stage.ada;
    const deny = Permission.CreatePublicThreads;
    stage.discord.world.setOverwrite(stage.channel, { id, type: 1, allow: 0n, deny });
    expect(contentOf(await fork().reply())).toMatch(/^Discord does not let a thread/);
    expect(stage.shown()).toEqual(["First."]);
  });

  test("refused by Discord at the last step takes everything back", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    const before = await stage.stored();
    const run = fork();
    // The event says that we may; when we ask, we may not any more.
    stage.discord.denyBot(stage.channel, Permission.CreatePublicThreads);
    expect(contentOf(await run.reply())).toMatch(/^Discord does not let a thread/);
    expect(stage.shown()).toEqual(["First."]);
    expect(await stage.stored()).toEqual(before);
  });

  test("cut off after planting is finished by the next process, in one thread", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    stage.discord.restFaults.next(createThread, { kind: "lose-request" }, { times: 40 });
    fork();
    const pending = `eyrie:gateway:${stage.discord.applicationId}:forks`;
    await stage.discord.waitFor(() => stage.discord.log.entries(createThread).length > 0);
    await stage.gateway?.close();
    expect(threadOf(stage.channel)).toBeUndefined();
    expect(await stage.truth.hlen(pending)).toBe(1);
    stage.discord.restFaults.clear();
    // Between the two processes the source goes on: the fork does not.
    await stage.start();
    await stage.discord.waitFor(() => threadOf(stage.channel));
    await expect.poll(async () => stage.truth.hlen(pending)).toBe(0);
    const threads = [...stage.discord.world.channels.values()].filter(
      ({ parentId }) => parentId === stage.channel.id,
    );
    expect(threads).toHaveLength(1);
    const there = conversationId(`discord-${threads[0]?.id ?? ""}`);
    expect(await stage.tokens(there)).toBe(3);
  }, 30_000);

  test("an answer lost on the way makes no second thread and no second anchor", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    stage.discord.restFaults.next("POST /channels/:channel/messages", { kind: "lose-answer" });
    stage.discord.restFaults.next(createThread, { kind: "lose-answer" });
    const answer = await fork().reply(20_000);
    expect(contentOf(answer)).toContain("<#");
    expect(stage.shown()).toHaveLength(2);
  }, 30_000);
});

describe("a place that is gone", () => {
  test("takes its conversations with it: the community we were removed from", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    await fork().reply();
    const elsewhere = stage.discord.directChannel(stage.bob);
    stage.discord.userSays(elsewhere, stage.bob, "hello");
    const kept = conversationId(`discord-${elsewhere.id}`);
    await stage.worker.commit(await stage.worker.claim(kept), "Hi.");
    await stage.waitForEmptyOutbox();
    const guild = stage.discord.world.guild(stage.channel.guildId ?? "");
    stage.discord.world.loseGuild(guild, "removed");
    const others = async (): Promise<string[]> =>
      (await stage.stored()).filter((line) => !line.includes(elsewhere.id));
    await expect.poll(others).toEqual([]);
    expect(await stage.tokens(kept)).toBe(3);
  });

  test("an outage takes nothing", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    const guild = stage.discord.world.guild(stage.channel.guildId ?? "");
    stage.discord.world.loseGuild(guild, "outage");
    stage.discord.world.restoreGuild(guild);
    stage.ask("still there?");
    const claim = await stage.worker.claim(stage.conversation);
    expect(claim).toMatchObject({ seq: 2, logHead: expect.stringMatching(/^0:3:/) as string });
  });

  test("a channel or a thread that is deleted takes its conversation, and no other", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    await fork().reply();
    const thread = threadOf(stage.channel);
    if (thread === undefined) throw new Error("no thread");
    stage.discord.world.deleteChannel(thread);
    await expect.poll(async () => stage.truth.keys(`*${thread.id}:*`)).toEqual([]);
    expect(await stage.tokens()).toBe(3);
    stage.discord.world.deleteChannel(stage.channel);
    await expect.poll(async () => stage.stored()).toEqual([]);
  });
});
