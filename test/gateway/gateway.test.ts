import { getEventListeners } from "node:events";
import { InteractionResponseType, MessageFlags } from "discord.js";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { editIntervalMsMin } from "#apps/gateway/render/pacer.ts";
import { conversationId } from "#infra/turn/index.ts";
import { Permission } from "#test/doubles/discord/index.ts";
import { buttonOf, contentOf, editIntervalMs, Stage } from "./stage.ts";

let stage: Stage;

afterEach(async () => stage.close());

test("while Redis takes nothing in, people are told: BUSY_TRY_LATER; later it heals", async () => {
  stage = await Stage.open();
  await stage.truth.config("SET", "maxmemory", "1");
  stage.ask("full house");
  await stage.discord.waitFor(() => stage.shown()[0]?.startsWith("I can't take on anything"));
  await stage.truth.config("SET", "maxmemory", "0");
  stage.ask("room again");
  expect((await stage.worker.claim(stage.conversation)).head.text).toBe("room again");
});

test("truth that follows another server for a moment is told to who asks, too", async () => {
  stage = await Stage.open();
  await stage.truth.replicaof("127.0.0.1", "1");
  stage.ask("nobody takes it");
  await stage.discord.waitFor(() => stage.shown()[0]?.startsWith("I can't take on anything"));
  await stage.truth.replicaof("NO", "ONE");
  stage.ask("taken again");
  expect((await stage.worker.claim(stage.conversation)).head.text).toBe("taken again");
});

function isMailboxFull(content: string): boolean {
  return content.startsWith("There are too many questions");
}

describe("a mention", () => {
  test("gets a placeholder, growing text, and the ledger's words in the end", async () => {
    stage = await Stage.open();
    const trigger = stage.ask("tell me about eagles");
    const claim = await stage.worker.claim(stage.conversation);
    expect(claim.head).toMatchObject({
      id: trigger.id,
      text: "tell me about eagles",
      model: "scripted",
      locale: "en-US",
      sampling: { temperature: 0.5, topP: 0.3 },
    });
    const placeholder = await stage.discord.waitForReply(stage.channel);
    expect(placeholder.replyTo?.id).toBe(trigger.id);
    expect(buttonOf(placeholder)).toMatch(/^v2:stop:/);

    await stage.worker.say(claim, "Eagles");
    await stage.waitForShown("Eagles ▌");
    await stage.worker.say(claim, "Eagles are large");
    await stage.waitForShown("Eagles are large ▌");
    const record = await stage.worker.commit(claim, "Eagles are large birds.");
    await stage.waitForShown(record.text);
    await stage.waitForEmptyOutbox();
    expect(buttonOf(placeholder)).toMatch(/^v2:again:/);
  });

  test("of a busy bot gets words at once where they come before the placeholder", async () => {
    stage = await Stage.open({ empty: true });
    const { ada, discord, worker } = stage;
    await stage.start({}, { requestsPerSecondMax: 10 });
    const guild = discord.addGuild({ name: "Crowd" });
    const channels = Array.from({ length: 12 }, (_, index) =>
      discord.addChannel(guild, { name: `channel-${index}` }),
    );
    for (const channel of channels) discord.userSays(channel, ada, "now!", { mention: true });
    const last = channels.at(-1)!;
    const claim = await worker.claim(conversationId(`discord-${last.id}`));
    await worker.say(claim, "At once");
    expect((await discord.waitForReply(last)).history[0]?.content).toBe("At once ▌");
    const empty = (): unknown[] => channels.filter((one) => discord.botMessages(one).length === 0);
    expect(empty().length).toBeGreaterThan(0);
    await discord.waitFor(() => empty().length === 0);
  });

  test("that is answered at once gets the answer in one request", async () => {
    stage = await Stage.open();
    let versions = 0;
    // A busy machine may need longer than a placeholder is held back for.
    for (let tries = 0; tries < 20 && versions !== 1; tries++) {
      versions = (await stage.exchange("quick", "Done.")).history.length;
    }
    expect(versions).toBe(1);
  });

  test("many frames become few edits, and no edit is stale", async () => {
    stage = await Stage.open();
    stage.ask("count");
    const claim = await stage.worker.claim(stage.conversation);
    const message = await stage.discord.waitForReply(stage.channel);
    let text = "";
    const startedMs = performance.now();
    for (let number = 1; number <= 300; number++) {
      text += `${number} `;
      await stage.worker.say(claim, text);
    }
    await stage.waitForShown(`${text.trimEnd()} ▌`);
    const versions = message.history.map(({ content }) => content.length);
    // As many as the pace allows in the time that the frames took, and that is long on a busy machine.
    const paceMax = (performance.now() - startedMs) / editIntervalMs;
    expect(versions.length).toBeLessThan(Math.max(60, paceMax + 5));
    expect(versions.slice(1)).toEqual(versions.slice(1).toSorted((a, b) => a - b));
    await stage.worker.commit(claim, text);
    await stage.waitForEmptyOutbox();
  });

  test("a long reply becomes several messages with whole code fences", async () => {
    stage = await Stage.open();
    stage.ask("code please");
    const claim = await stage.worker.claim(stage.conversation);
    const text = `\`\`\`js\n${"let a = 1;\n".repeat(300)}\`\`\``;
    await stage.worker.say(claim, text.slice(0, 2_500));
    await stage.discord.waitFor(() => stage.shown().length === 2);
    await stage.worker.commit(claim, text);
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toHaveLength(2);
    for (const part of stage.shown()) expect(part).toMatch(/^```js\n[^`]+\n```$/);
    const [first] = stage.discord.botMessages(stage.channel);
    expect(first && buttonOf(first)).toBeUndefined();
  });

  test("after a mention after a mention leaves no listener behind", async () => {
    const listening = vi.spyOn(EventTarget.prototype, "addEventListener");
    onTestFinished(() => listening.mockRestore());
    stage = await Stage.open();
    for (let asked = 1; asked <= 10; asked++) {
      const reply = await stage.exchange(`question ${asked}`, `answer ${asked}`);
      await stage.discord.waitFor(() => buttonOf(reply) !== undefined);
    }
    const signals = listening.mock.contexts.filter((one) => one instanceof AbortSignal);
    const counts = signals.map((signal) => getEventListeners(signal, "abort").length);
    expect(signals.length).toBeGreaterThan(10);
    expect(Math.max(...counts)).toBeLessThan(8);
  });

  test("in a direct message needs no mention", async () => {
    stage = await Stage.open();
    const direct = stage.discord.directChannel(stage.ada);
    stage.discord.userSays(direct, stage.ada, "hello you");
    const claim = await stage.worker.claim(conversationId(`discord-${direct.id}`));
    expect(claim.head).toMatchObject({ text: "hello you", community: null });
    await stage.discord.waitForReply(direct);
    await stage.worker.commit(claim, "hello ada");
    await stage.discord.waitForReply(direct, (message) => contentOf(message) === "hello ada");
  });

  test("output that mentions everybody reaches nobody", async () => {
    stage = await Stage.open();
    stage.ask("shout");
    const claim = await stage.worker.claim(stage.conversation);
    const shout = `@everyone @here <@${stage.bob.id}> look`;
    await stage.worker.say(claim, shout);
    await stage.waitForShown(`${shout} ▌`);
    await stage.worker.commit(claim, shout);
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual([shout]);
    expect(stage.discord.counters().mentionsDelivered).toBe(0);
  });

  test("a failed turn ends in an error with its code", async () => {
    stage = await Stage.open();
    stage.ask("break");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.discord.waitForReply(stage.channel);
    await stage.worker.commit(claim, "", { code: "TURN_NOT_FINITE" });
    await stage.waitForEmptyOutbox();
    expect(stage.shown()[0]).toMatch(/^⚠️ .+`TURN_NOT_FINITE`/);
  });

  test("without words is answered with words: MESSAGE_EMPTY, once a minute", async () => {
    stage = await Stage.open();
    stage.ask("");
    stage.ask(" ");
    await stage.discord.waitFor(() => stage.shown().length === 1);
    stage.ask("now with words");
    await stage.worker.claim(stage.conversation);
    await stage.discord.waitFor(() => stage.shown().length === 2);
    expect(stage.shown()[0]).toMatch(/^You called\?/);
  });

  test("the seventeenth waiting turn is refused: MAILBOX_FULL", async () => {
    stage = await Stage.open();
    for (let number = 1; number <= 18; number++) stage.ask(`question ${number}`);
    await stage.discord.waitFor(() => stage.shown().some(isMailboxFull));
    expect(await stage.worker.mailbox.waiting(stage.conversation)).toHaveLength(16);
    expect(stage.shown().filter(isMailboxFull)).toHaveLength(1);
  });
});

test("at life's pace and limits, three replies in one channel meet no 429", async () => {
  stage = await Stage.open({ empty: true, double: { rateLimits: {} } });
  await stage.start({}, { editIntervalMsMin });
  const channels = ["one", "two", "three"].map((topic) => {
    stage.ask(topic);
    return topic;
  });
  await stage.discord.waitFor(() => stage.shown().length === channels.length);
  let text = "";
  const claim = await stage.worker.claim(stage.conversation);
  for (let word = 0; word < 60; word++) {
    await stage.worker.say(claim, (text += "word "));
    await new Promise((done) => setTimeout(done, 50));
  }
  await stage.worker.commit(claim, text);
  await stage.waitForEmptyOutbox();
  expect(stage.discord.counters().rateLimited).toBe(0);
});

describe("Stop", () => {
  test("works for who asked, for nobody else (NOT_YOUR_BUTTON), and keeps the text so far", async () => {
    stage = await Stage.open();
    stage.ask("a long story");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "Once upon a time");
    await stage.waitForShown("Once upon a time ▌");
    const [message] = stage.discord.botMessages(stage.channel);
    if (message === undefined) throw new Error("no reply");
    const customId = buttonOf(message) ?? "";

    const stranger = stage.discord.userPresses(message, customId, stage.bob);
    expect(await stranger.response()).toBe(InteractionResponseType.ChannelMessageWithSource);
    expect(contentOf(await stranger.reply())).toMatch(/^Diesen Knopf kann nur/);
    expect(stranger.messages[0]?.wire.flags).toBe(MessageFlags.Ephemeral);
    expect(await stage.worker.stopped(claim)).toBe(false);

    const asker = stage.discord.userPresses(message, customId, stage.ada);
    expect(await asker.response()).toBe(InteractionResponseType.DeferredMessageUpdate);
    await expect.poll(() => stage.worker.stopped(claim)).toBe(true);
    await stage.worker.commit(claim, "Once upon a time", { end: "stopped" });
    await stage.waitForShown("Once upon a time");
  });

  test("after the end says so: BUTTON_EXPIRED", async () => {
    stage = await Stage.open();
    stage.ask("quick");
    const claim = await stage.worker.claim(stage.conversation);
    const message = await stage.discord.waitForReply(stage.channel);
    const customId = buttonOf(message) ?? "";
    // The last edit is refused, so the button stays.
    stage.discord.denyBot(stage.channel, Permission.ViewChannel);
    await stage.worker.commit(claim, "done");
    await stage.waitForEmptyOutbox();
    stage.discord.denyBot(stage.channel, 0n);
    const late = stage.discord.userPresses(message, customId, stage.ada);
    expect(contentOf(await late.reply())).toMatch(/already finished/);
  });

  test("deleting the question stops the turn and takes the reply away", async () => {
    stage = await Stage.open();
    const trigger = stage.ask("never mind");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "Well");
    await stage.waitForShown("Well ▌");
    stage.discord.deleteMessage(trigger);
    await stage.waitForShown();
    await expect.poll(() => stage.worker.stopped(claim)).toBe(true);
    await stage.worker.commit(claim, "Well", { end: "stopped" });
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual([]);
  });
});

describe("commands", () => {
  test("/chat defers, streams into the answer, and goes on in further messages", async () => {
    stage = await Stage.open();
    const run = stage.discord.userRunsCommand(stage.channel, stage.bob, "chat", {
      options: { text: "Erzähl mir was" },
      locale: "de",
    });
    expect(await run.response()).toBe(InteractionResponseType.DeferredChannelMessageWithSource);
    const claim = await stage.worker.claim(stage.conversation);
    expect(claim.head).toMatchObject({ text: "Erzähl mir was", locale: "de", id: run.id });
    await stage.worker.say(claim, "Es war");
    await stage.waitForShown("Es war ▌");
    const text = "Es war einmal ein Adler. ".repeat(100);
    await stage.worker.commit(claim, text);
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toHaveLength(2);
    expect(contentOf(await run.reply())).toBe(stage.shown()[0]);
    const second = stage.discord.botMessages(stage.channel)[1];
    expect(second?.replyTo?.id).toBe((await run.reply()).id);
  });

  test("/chat shows a long answer where the bot may not send", async () => {
    stage = await Stage.open();
    stage.discord.denyBot(stage.channel, Permission.SendMessages);
    stage.discord.userRunsCommand(stage.channel, stage.ada, "chat", { options: { text: "long" } });
    const claim = await stage.worker.claim(stage.conversation);
    const text = "Word. ".repeat(500);
    await stage.worker.say(claim, text.slice(0, 2_100));
    await stage.discord.waitFor(() => stage.shown().length === 2);
    await stage.worker.commit(claim, text);
    await stage.waitForEmptyOutbox();
    // Discord trims what it is sent, but not what a message is edited to.
    expect(stage.shown().join("").replaceAll(" ", "")).toBe(text.replaceAll(" ", ""));
    const last = stage.discord.botMessages(stage.channel).at(-1);
    expect(last !== undefined && buttonOf(last)).toMatch(/^v2:again:/);
  });

  test("/chat goes on in the same message when its token has run out", async () => {
    stage = await Stage.open();
    const run = stage.discord.userRunsCommand(stage.channel, stage.ada, "chat", {
      options: { text: "take your time" },
    });
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "Slowly");
    await stage.waitForShown("Slowly ▌");
    stage.discord.clock.pass(16 * 60_000);
    await stage.worker.commit(claim, "Slowly, but surely.");
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual(["Slowly, but surely."]);
    expect(contentOf(await run.reply())).toBe("Slowly, but surely.");
  });

  test("/chat without words is refused in private", async () => {
    stage = await Stage.open();
    const run = stage.discord.userRunsCommand(stage.channel, stage.bob, "chat", {
      options: { text: "\u200b \n" },
      locale: "de",
    });
    expect(contentOf(await run.reply())).toMatch(/^Ja, bitte\?/);
    expect(run.messages[0]?.ephemeralFor).toBe(stage.bob.id);
  });

  test("/reset forgets, stops the running turn and says what it was", async () => {
    stage = await Stage.open();
    stage.ask("remember me");
    const first = await stage.worker.claim(stage.conversation);
    await stage.worker.commit(first, "I will");
    await stage.waitForEmptyOutbox();
    stage.ask("and me");
    const second = await stage.worker.claim(stage.conversation);
    const run = stage.discord.userRunsCommand(stage.channel, stage.ada, "reset", {
      locale: "en-US",
    });
    expect(contentOf(await run.reply())).toMatch(/3 tokens of memory/);
    expect(await stage.worker.stopped(second)).toBe(true);
    expect((await stage.worker.ledger.summary(stage.conversation)).logHead.tokens).toBe(0);
  });

  test("are announced once, and again only when they change", async () => {
    stage = await Stage.open();
    await stage.restart();
    const puts = stage.discord.log.entries("PUT /applications/:application/commands");
    expect(puts.map(({ status }) => status)).toEqual([200]);
  });
});
