/** Undo, Regenerate, fork and privacy as people in Discord meet them. */
import { InteractionResponseType, MessageFlags } from "discord.js";
import { afterEach, describe, expect, test } from "vitest";
import type { Claim } from "#infra/mailbox/mailbox.ts";
import { conversationId } from "#infra/turn/index.ts";
import { type Channel, type Message, Permission } from "#test/doubles/discord/index.ts";
import { everything } from "../infra/conversation/workshop.ts";
import { buttonOf, contentOf, Stage } from "./stage.ts";

const createThread = "POST /channels/:channel/messages/:message/threads";
const editMessage = "PATCH /channels/:channel/messages/:message";

let stage: Stage;

afterEach(async () => stage.close());

/** Ada asks, the worker answers, Discord shows it. */
async function exchange(question: string, answer: string): Promise<Message> {
  const trigger = stage.ask(question);
  const claim = await stage.worker.claim(stage.conversation);
  await stage.worker.commit(claim, answer);
  await stage.waitForEmptyOutbox();
  return replyTo(trigger);
}

function replyTo(trigger: Message): Message {
  const reply = stage.discord.botMessages(stage.channel).find((one) => one.replyTo === trigger);
  if (reply === undefined) throw new Error("no reply");
  return reply;
}

function press(message: Message, user = stage.ada) {
  return stage.discord.userPresses(message, buttonOf(message) ?? "", user);
}

function isPrivate(message: Message | undefined, user = stage.ada): boolean {
  return message?.ephemeralFor === user.id && (message.wire.flags & MessageFlags.Ephemeral) !== 0;
}

async function tokensOf(conversation = stage.conversation): Promise<number> {
  return (await stage.worker.ledger.logHead(conversation)).tokens;
}

function threadOf(channel: Channel): Channel | undefined {
  return [...stage.discord.world.channels.values()].find((one) => one.parentId === channel.id);
}

function fork(options: { title?: string } = {}) {
  return stage.discord.userRunsCommand(stage.channel, stage.ada, "fork", { options });
}

function privacy(channel = stage.channel, user = stage.ada) {
  return stage.discord.userRunsCommand(channel, user, "privacy");
}

/** `custom_id`s of a message's buttons. */
function buttonsOf(message: Message): string[] {
  const rows = message.wire.components as { components: { custom_id: string }[] }[];
  return rows.flatMap(({ components }) => components.map((one) => one.custom_id));
}

async function directExchange(): Promise<{ direct: Channel; claim: Claim }> {
  const direct = stage.discord.directChannel(stage.ada);
  stage.discord.userSays(direct, stage.ada, "a secret of mine");
  const claim = await stage.worker.claim(conversationId(`discord-${direct.id}`));
  await stage.worker.commit(claim, "I keep it.");
  await stage.waitForEmptyOutbox();
  return { direct, claim };
}

describe("/undo", () => {
  test("takes back the last exchanges, tells the asker in private, and marks the replies", async () => {
    stage = await Stage.open();
    const first = await exchange("one", "First.");
    const second = await exchange("two", "Second.");
    const third = await exchange("three", "Third.");
    expect(await tokensOf()).toBe(9);
    const run = stage.discord.userRunsCommand(stage.channel, stage.bob, "undo", {
      options: { count: 2 },
      locale: "de",
    });
    const answer = await run.reply();
    expect(contentOf(answer)).toMatch(/^↩️ Zurückgenommen: die letzten 2 Wortwechsel/);
    expect(isPrivate(answer, stage.bob)).toBe(true);
    expect(await tokensOf()).toBe(3);
    await stage.discord.waitFor(() => contentOf(second).includes("taken back"));
    expect(contentOf(first)).toBe("First.");
    for (const undone of [second, third]) {
      expect(contentOf(undone)).toMatch(/^(Second|Third)\.\n-# ↩️ taken back/);
      expect(buttonOf(undone)).toBeUndefined();
    }
    expect(stage.discord.counters().mentionsDelivered).toBe(0);
  });

  test("of nothing says so", async () => {
    stage = await Stage.open();
    const run = stage.discord.userRunsCommand(stage.channel, stage.ada, "undo");
    expect(contentOf(await run.reply())).toMatch(/nothing to take back/);
    expect(await everything(stage.truth)).not.toContain("rewound");
  });

  test("told twice takes back once", async () => {
    stage = await Stage.open();
    for (const word of ["one", "two", "three"]) await exchange(word, `${word}!`);
    stage.discord.deliveryFaults.set({ duplicateChance: 1 });
    const run = stage.discord.userRunsCommand(stage.channel, stage.ada, "undo");
    await run.reply();
    stage.discord.deliveryFaults.set({ duplicateChance: 0 });
    await exchange("four", "four!");
    expect(await tokensOf()).toBe(9);
  });

  test("keeps a mark within Discord's limit: a reply that is full only loses its button", async () => {
    stage = await Stage.open();
    const long = "y".repeat(1_990);
    const reply = await exchange("long", long);
    await stage.discord.userRunsCommand(stage.channel, stage.ada, "undo").reply();
    await stage.discord.waitFor(() => buttonOf(reply) === undefined);
    expect(contentOf(reply)).toBe(long);
  });

  test("while a reply runs takes the one before; the running one begins again", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    stage.ask("two");
    const running = await stage.worker.claim(stage.conversation);
    await stage.discord.userRunsCommand(stage.channel, stage.ada, "undo").reply();
    await expect(stage.worker.commit(running, "Too late.")).rejects.toThrow("log-moved");
    await stage.worker.mailbox.release(running, { forgive: true });
    const again = await stage.worker.claim(stage.conversation);
    expect(again).toMatchObject({ head: { text: "two" }, logHead: "0:0:0" });
    await stage.worker.commit(again, "Anew.");
    await stage.waitForEmptyOutbox();
    expect(stage.shown().at(-1)).toBe("Anew.");
  });
});

describe("Regenerate", () => {
  test("writes the last answer anew in the same message, again and again", async () => {
    stage = await Stage.open();
    const reply = await exchange("a poem", "Roses are red.");
    for (const attempt of [1, 2]) {
      const pressed = press(reply);
      expect(await pressed.response()).toBe(InteractionResponseType.DeferredMessageUpdate);
      const claim = await stage.worker.claim(stage.conversation);
      expect(claim).toMatchObject({ head: { text: "a poem", attempt }, logHead: "0:0:0" });
      await stage.waitForShown("💭 …");
      expect(buttonOf(reply)).toMatch(/^v2:stop:/);
      await stage.worker.say(claim, "Violets");
      await stage.waitForShown("Violets ▌");
      await stage.worker.commit(claim, `Violets are blue, ${attempt}.`);
      await stage.waitForShown(`Violets are blue, ${attempt}.`);
      await stage.waitForEmptyOutbox();
      expect(buttonOf(reply)).toMatch(/^v2:again:/);
      expect(await tokensOf()).toBe(3);
    }
    expect(stage.discord.messages(stage.channel, { deleted: true })).toHaveLength(2);
  });

  test("of a reply in several messages takes the surplus away", async () => {
    stage = await Stage.open();
    stage.ask("long");
    await stage.worker.commit(
      await stage.worker.claim(stage.conversation),
      "Lorem ipsum. ".repeat(300),
    );
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toHaveLength(2);
    const last = stage.discord.botMessages(stage.channel).at(-1);
    if (last === undefined) throw new Error("no reply");
    await press(last).response();
    const claim = await stage.worker.claim(stage.conversation);
    await stage.waitForShown("💭 …");
    await stage.worker.commit(claim, "Short.");
    await stage.waitForShown("Short.");
  });

  test("goes on in a /chat answer whose token has run out", async () => {
    stage = await Stage.open();
    const run = stage.discord.userRunsCommand(stage.channel, stage.ada, "chat", {
      options: { text: "hello" },
    });
    await stage.worker.commit(await stage.worker.claim(stage.conversation), "Hi.");
    await stage.waitForShown("Hi.");
    await stage.waitForEmptyOutbox();
    stage.discord.clock.pass(16 * 60_000);
    await press(await run.reply()).response();
    await stage.worker.commit(await stage.worker.claim(stage.conversation), "Hello.");
    await stage.waitForShown("Hello.");
  });

  test("stands under the last answer only, and elsewhere says REGENERATE_NOT_LAST", async () => {
    stage = await Stage.open();
    const first = await exchange("one", "First.");
    // An older button may be left behind: nobody removes this one.
    stage.discord.restFaults.next(editMessage, { kind: "server-error" }, { times: 4 });
    const customId = buttonOf(first) ?? "";
    await exchange("two", "Second.");
    if (buttonOf(first) !== undefined) {
      const late = stage.discord.userPresses(first, customId, stage.ada);
      expect(contentOf(await late.reply())).toMatch(/^Only the last answer here/);
      expect(isPrivate(await late.reply())).toBe(true);
    }
    const third = await exchange("three", "Third.");
    const second = stage.discord
      .botMessages(stage.channel)
      .find((one) => contentOf(one) === "Second.");
    await stage.discord.waitFor(() => second !== undefined && buttonOf(second) === undefined);
    expect(buttonOf(third)).toMatch(/^v2:again:/);
  });

  test("is for who asked (NOT_YOUR_BUTTON), and refused while the next question waits", async () => {
    stage = await Stage.open();
    const reply = await exchange("one", "First.");
    const stranger = press(reply, stage.bob);
    expect(contentOf(await stranger.reply())).toMatch(/^Diesen Knopf kann nur/);
    stage.discord.restFaults.next(editMessage, { kind: "server-error" }, { times: 4 });
    stage.ask("two");
    await stage.discord.waitFor(() => stage.shown().length === 2);
    expect(contentOf(await press(reply).reply())).toMatch(/^Only the last answer here/);
  });

  test("of a failed turn tries again; of one that cannot succeed there is no button", async () => {
    stage = await Stage.open();
    const failed = stage.ask("try");
    let claim = await stage.worker.claim(stage.conversation);
    await stage.worker.commit(claim, "", { code: "TURN_FAILED" });
    await stage.waitForEmptyOutbox();
    await press(replyTo(failed)).response();
    claim = await stage.worker.claim(stage.conversation);
    await stage.worker.commit(claim, "Now it works.");
    await stage.waitForShown("Now it works.");
    await stage.waitForEmptyOutbox();
    const long = stage.ask("too long");
    claim = await stage.worker.claim(stage.conversation);
    await stage.worker.commit(claim, "", { code: "MESSAGE_TOO_LONG" });
    await stage.waitForEmptyOutbox();
    expect(buttonOf(replyTo(long))).toBeUndefined();
  });

  test("survives the gateway: the next process shows the attempt in the same message", async () => {
    stage = await Stage.open();
    const reply = await exchange("a poem", "Roses.");
    await press(reply).response();
    const claim = await stage.worker.claim(stage.conversation);
    await stage.waitForShown("💭 …");
    await stage.restart();
    await stage.worker.commit(claim, "Violets.");
    await stage.waitForShown("Violets.");
    await stage.waitForEmptyOutbox();
    expect(buttonOf(reply)).toMatch(/^v2:again:/);
  });
});

describe("/fork", () => {
  test("opens a thread that remembers, and both sides go their own way", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    await exchange("two", "Second.");
    const answer = await fork({ title: "what if" }).reply();
    const thread = threadOf(stage.channel);
    if (thread === undefined) throw new Error("no thread");
    expect(thread.name).toBe("what if");
    expect(contentOf(answer)).toContain(`<#${thread.id}>`);
    expect(isPrivate(answer)).toBe(true);
    const greeting = await stage.discord.waitForReply(thread);
    expect(contentOf(greeting)).toContain(`<#${stage.channel.id}>`);

    const there = conversationId(`discord-${thread.id}`);
    expect(await tokensOf(there)).toBe(6);
    stage.discord.userSays(thread, stage.ada, "go on", { mention: true });
    const claim = await stage.worker.claim(there);
    await stage.worker.commit(claim, "In the thread.");
    await stage.discord.waitForReply(thread, (one) => contentOf(one) === "In the thread.");
    expect(await tokensOf()).toBe(6);
    await stage.discord.userRunsCommand(stage.channel, stage.ada, "reset").reply();
    expect(await tokensOf(there)).toBe(9);
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
    await exchange("one", "First.");
    await fork().reply();
    const thread = threadOf(stage.channel);
    if (thread === undefined) throw new Error("no thread");
    const inside = stage.discord.userRunsCommand(thread, stage.ada, "fork");
    expect(contentOf(await inside.reply())).toMatch(/^A thread cannot start here/);
  });

  test("without the right to open threads says FORK_FORBIDDEN", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
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
    await exchange("one", "First.");
    const before = await stored();
    const run = fork();
    // The event says that we may; when we ask, we may not any more.
    stage.discord.denyBot(stage.channel, Permission.CreatePublicThreads);
    expect(contentOf(await run.reply())).toMatch(/^Discord does not let a thread/);
    expect(stage.shown()).toEqual(["First."]);
    expect(await stored()).toEqual(before);
  });

  test("cut off after planting is finished by the next process, in one thread", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
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
    expect(await tokensOf(there)).toBe(3);
  }, 30_000);

  test("an answer lost on the way makes no second thread and no second anchor", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    stage.discord.restFaults.next("POST /channels/:channel/messages", { kind: "lose-answer" });
    stage.discord.restFaults.next(createThread, { kind: "lose-answer" });
    const answer = await fork().reply(20_000);
    expect(contentOf(answer)).toContain("<#");
    expect(stage.shown()).toHaveLength(2);
  }, 30_000);
});

describe("/privacy", () => {
  test("shows what is kept, and nothing where nothing is kept", async () => {
    stage = await Stage.open();
    expect(contentOf(await privacy().reply())).toBe("🔒 I keep nothing of this conversation.");
    await exchange("one", "First.");
    const answer = await privacy().reply();
    expect(isPrivate(answer)).toBe(true);
    expect(contentOf(answer)).toMatch(/last 3 tokens[\s\S]*- 1 of my answers/);
    expect(buttonsOf(answer)).toHaveLength(2);
  });

  test("exports what is stored, as JSON, to the asker only", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    const panel = await privacy().reply();
    const [exportId = ""] = buttonsOf(panel);
    const file = await stage.discord.userPresses(panel, exportId, stage.ada).reply();
    expect(isPrivate(file)).toBe(true);
    const exported = JSON.parse(stage.discord.fileOf(file).toString()) as Record<string, unknown>;
    expect(exported["conversation"]).toBe(stage.conversation);
    expect(JSON.stringify(exported)).toContain('"text":"First."');
    expect(file.wire.attachments[0]).toMatchObject({
      filename: `${stage.conversation}.json`,
      content_type: "application/json",
    });
  });

  test("an export that fits no file says EXPORT_TOO_LARGE", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    const panel = await privacy().reply();
    const huge = "z".repeat(11 * 1024 ** 2);
    await stage.truth.set((await stage.truth.keys("*:last"))[0] ?? "", `0 ${huge}`);
    const [exportId = ""] = buttonsOf(panel);
    const answer = await stage.discord.userPresses(panel, exportId, stage.ada).reply();
    expect(contentOf(answer)).toMatch(/^This is more than fits/);
  });

  test("in a server deletes for moderators only: DELETE_FORBIDDEN", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    const panel = await privacy().reply();
    const [, deleteId = ""] = buttonsOf(panel);
    const refused = stage.discord.userPresses(panel, deleteId, stage.ada);
    expect(contentOf(await refused.reply())).toMatch(/^Here the conversation belongs to everybody/);
    expect(await tokensOf()).toBe(3);
  });

  test("deletes after asking once more: nothing is left in Redis, and Discord goes on", async () => {
    stage = await Stage.open();
    const { direct } = await directExchange();
    // One more that is running, with its placeholder shown.
    stage.discord.userSays(direct, stage.ada, "and this");
    const running = await stage.worker.claim(conversationId(`discord-${direct.id}`));
    await stage.discord.waitFor(() => stage.discord.botMessages(direct).length === 2);
    const panel = await privacy(direct).reply();
    const [, deleteId = ""] = buttonsOf(panel);
    await stage.discord.userPresses(panel, deleteId, stage.ada).response();
    await stage.discord.waitFor(() => contentOf(panel).startsWith("🗑️ Delete my memory"));
    const [eraseId = ""] = buttonsOf(panel);
    await stage.discord.userPresses(panel, eraseId, stage.ada).response();
    await stage.discord.waitFor(() => contentOf(panel).startsWith("🗑️ Deleted."));
    await expect(stage.worker.commit(running, "Too late.")).rejects.toThrow("lease-lost");

    const left = async (): Promise<string[]> =>
      (await everything(stage.truth)).filter((line) => line.includes(direct.id));
    await expect.poll(left).toEqual([]);
    // The placeholder of the running turn is gone as well; the finished answer is Discord's.
    const shown = stage.discord.botMessages(direct).filter((one) => one.ephemeralFor === null);
    expect(shown.map(contentOf)).toEqual(["I keep it."]);
    stage.discord.userSays(direct, stage.ada, "hello again");
    const anew = await stage.worker.claim(conversationId(`discord-${direct.id}`));
    expect(anew).toMatchObject({ seq: 1, logHead: "0:0:0" });
  });
});

/** What truth holds of conversations. */
async function stored(): Promise<string[]> {
  return (await everything(stage.truth)).filter((line) => line.startsWith("eyrie:{"));
}

describe("a place that is gone", () => {
  test("takes its conversations with it: the community we were removed from", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    await fork().reply();
    const elsewhere = stage.discord.directChannel(stage.bob);
    stage.discord.userSays(elsewhere, stage.bob, "hello");
    const kept = conversationId(`discord-${elsewhere.id}`);
    await stage.worker.commit(await stage.worker.claim(kept), "Hi.");
    await stage.waitForEmptyOutbox();
    const guild = stage.discord.world.guild(stage.channel.guildId ?? "");
    stage.discord.world.loseGuild(guild, "removed");
    const others = async (): Promise<string[]> =>
      (await stored()).filter((line) => !line.includes(elsewhere.id));
    await expect.poll(others).toEqual([]);
    expect(await tokensOf(kept)).toBe(3);
  });

  test("an outage takes nothing", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    const guild = stage.discord.world.guild(stage.channel.guildId ?? "");
    stage.discord.world.loseGuild(guild, "outage");
    stage.discord.world.restoreGuild(guild);
    stage.ask("still there?");
    const claim = await stage.worker.claim(stage.conversation);
    expect(claim).toMatchObject({ seq: 2, logHead: expect.stringMatching(/^0:3:/) as string });
  });

  test("a channel or a thread that is deleted takes its conversation, and no other", async () => {
    stage = await Stage.open();
    await exchange("one", "First.");
    await fork().reply();
    const thread = threadOf(stage.channel);
    if (thread === undefined) throw new Error("no thread");
    stage.discord.world.deleteChannel(thread);
    await expect.poll(async () => stage.truth.keys(`*${thread.id}:*`)).toEqual([]);
    expect(await tokensOf()).toBe(3);
    stage.discord.world.deleteChannel(stage.channel);
    await expect.poll(stored).toEqual([]);
  });
});
