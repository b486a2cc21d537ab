/** Undo and Regenerate as people in Discord meet them. */
import { InteractionResponseType } from "discord.js";
import { afterEach, describe, expect, test } from "vitest";
import type { Message } from "#test/doubles/discord/index.ts";
import { everything } from "../infra/conversation/workshop.ts";
import { buttonOf, contentOf, isPrivate, Stage } from "./stage.ts";

const editMessage = "PATCH /channels/:channel/messages/:message";

let stage: Stage;

afterEach(async () => stage.close());

function press(message: Message, user = stage.ada) {
  return stage.discord.userPresses(message, buttonOf(message) ?? "", user);
}

describe("/undo", () => {
  test("takes back the last exchanges, tells the asker in private, and marks the replies", async () => {
    stage = await Stage.open();
    const first = await stage.exchange("one", "First.");
    const second = await stage.exchange("two", "Second.");
    const third = await stage.exchange("three", "Third.");
    expect(await stage.tokens()).toBe(9);
    const run = stage.discord.userRunsCommand(stage.channel, stage.bob, "undo", {
      options: { count: 2 },
      locale: "de",
    });
    const answer = await run.reply();
    expect(contentOf(answer)).toMatch(/^↩️ Zurückgenommen: die letzten 2 Wortwechsel/);
    expect(isPrivate(answer, stage.bob)).toBe(true);
    expect(await stage.tokens()).toBe(3);
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
    for (const word of ["one", "two", "three"]) await stage.exchange(word, `${word}!`);
    stage.discord.deliveryFaults.set({ duplicateChance: 1 });
    const run = stage.discord.userRunsCommand(stage.channel, stage.ada, "undo");
    await run.reply();
    stage.discord.deliveryFaults.set({ duplicateChance: 0 });
    await stage.exchange("four", "four!");
    expect(await stage.tokens()).toBe(9);
  });

  test("keeps a mark within Discord's limit: a reply that is full only loses its button", async () => {
    stage = await Stage.open();
    const long = "y".repeat(1_990);
    const reply = await stage.exchange("long", long);
    await stage.discord.userRunsCommand(stage.channel, stage.ada, "undo").reply();
    await stage.discord.waitFor(() => buttonOf(reply) === undefined);
    expect(contentOf(reply)).toBe(long);
  });

  test("while a reply runs takes the one before; the running one begins again", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
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
    const reply = await stage.exchange("a poem", "Roses are red.");
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
      expect(await stage.tokens()).toBe(3);
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
    const first = await stage.exchange("one", "First.");
    // An older button may be left behind: nobody removes this one.
    stage.discord.restFaults.next(editMessage, { kind: "server-error" }, { times: 4 });
    const customId = buttonOf(first) ?? "";
    await stage.exchange("two", "Second.");
    if (buttonOf(first) !== undefined) {
      const late = stage.discord.userPresses(first, customId, stage.ada);
      expect(contentOf(await late.reply())).toMatch(/^Only the last answer here/);
      expect(isPrivate(await late.reply(), stage.ada)).toBe(true);
    }
    const third = await stage.exchange("three", "Third.");
    const second = stage.discord
      .botMessages(stage.channel)
      .find((one) => contentOf(one) === "Second.");
    await stage.discord.waitFor(() => second !== undefined && buttonOf(second) === undefined);
    expect(buttonOf(third)).toMatch(/^v2:again:/);
  });

  test("is for who asked (NOT_YOUR_BUTTON), and refused while the next question waits", async () => {
    stage = await Stage.open();
    const reply = await stage.exchange("one", "First.");
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
    await press(stage.replyTo(failed)).response();
    claim = await stage.worker.claim(stage.conversation);
    await stage.worker.commit(claim, "Now it works.");
    await stage.waitForShown("Now it works.");
    await stage.waitForEmptyOutbox();
    const long = stage.ask("too long");
    claim = await stage.worker.claim(stage.conversation);
    await stage.worker.commit(claim, "", { code: "MESSAGE_TOO_LONG" });
    await stage.waitForEmptyOutbox();
    expect(buttonOf(stage.replyTo(long))).toBeUndefined();
  });

  test("of a reply that was stopped is not stopped, too", async () => {
    stage = await Stage.open();
    stage.ask("a story");
    const stopped = await stage.worker.claim(stage.conversation);
    await stage.worker.say(stopped, "Once");
    await stage.waitForShown("Once ▌");
    const reply = stage.discord.botMessages(stage.channel).at(-1);
    if (reply === undefined) throw new Error("no reply");
    press(reply);
    await expect.poll(() => stage.worker.stopped(stopped)).toBe(true);
    await stage.worker.commit(stopped, "Once", { end: "stopped" });
    await stage.waitForEmptyOutbox();
    await press(reply).response();
    const again = await stage.worker.claim(stage.conversation);
    expect(again.head.attempt).toBe(1);
    expect(await stage.worker.stopped(again)).toBe(false);
  });

  test("survives the gateway: the next process shows the attempt in the same message", async () => {
    stage = await Stage.open();
    const reply = await stage.exchange("a poem", "Roses.");
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

describe("Stop", () => {
  test("that truth cannot take is told to who pressed; the reply keeps its text", async () => {
    stage = await Stage.open();
    stage.ask("a story");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "Once upon a time");
    await stage.waitForShown("Once upon a time ▌");
    const reply = stage.discord.botMessages(stage.channel).at(-1);
    if (reply === undefined) throw new Error("no reply");
    await stage.truth.config("SET", "maxmemory", "1");
    const pressed = press(reply);
    const toAda = (): Message[] => pressed.messages.filter((one) => isPrivate(one, stage.ada));
    await stage.discord.waitFor(() => toAda().length > 0);
    await stage.truth.config("SET", "maxmemory", "1gb");
    expect(toAda().map(contentOf)).toEqual([expect.stringContaining("try again")]);
    expect(contentOf(reply)).toContain("Once upon a time");
    await stage.worker.commit(claim, "Once upon a time there was an end.");
    await stage.waitForShown("Once upon a time there was an end.");
  });
});
