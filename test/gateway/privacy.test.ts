/** `/privacy`: what is kept is shown, exported and deleted. */
import { afterEach, describe, expect, test } from "vitest";
import type { Claim } from "#infra/mailbox/mailbox.ts";
import { conversationId } from "#infra/turn/index.ts";
import type { Channel, Message } from "#test/doubles/discord/index.ts";
import { everything } from "../infra/conversation/workshop.ts";
import { contentOf, isPrivate, Stage } from "./stage.ts";

let stage: Stage;

afterEach(async () => stage.close());

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

describe("/privacy", () => {
  test("shows what is kept, and nothing where nothing is kept", async () => {
    stage = await Stage.open();
    expect(contentOf(await privacy().reply())).toBe("🔒 I keep nothing of this conversation.");
    await stage.exchange("one", "First.");
    const answer = await privacy().reply();
    expect(isPrivate(answer, stage.ada)).toBe(true);
    expect(contentOf(answer)).toMatch(/last 3 tokens[\s\S]*- 1 of my answers/);
    expect(buttonsOf(answer)).toHaveLength(3);
  });

  test("exports what is stored, as JSON, to the asker only", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    const panel = await privacy().reply();
    const [exportId = ""] = buttonsOf(panel);
    const file = await stage.discord.userPresses(panel, exportId, stage.ada).reply();
    expect(isPrivate(file, stage.ada)).toBe(true);
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
    await stage.exchange("one", "First.");
    const panel = await privacy().reply();
    const huge = "z".repeat(11 * 1024 ** 2);
    await stage.truth.set((await stage.truth.keys("*:last"))[0] ?? "", `0 ${huge}`);
    const [exportId = ""] = buttonsOf(panel);
    const answer = await stage.discord.userPresses(panel, exportId, stage.ada).reply(20_000);
    expect(contentOf(answer)).toMatch(/^This is more than fits/);
  });

  test("in a server deletes for moderators only: DELETE_FORBIDDEN", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    const panel = await privacy().reply();
    const [, deleteId = ""] = buttonsOf(panel);
    const refused = stage.discord.userPresses(panel, deleteId, stage.ada);
    expect(contentOf(await refused.reply())).toMatch(/^Here the conversation belongs to everybody/);
    expect(await stage.tokens()).toBe(3);
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

  test("deletes what is the asker's, goes back to before them, and says so in their language", async () => {
    stage = await Stage.open();
    await stage.exchange("one", "First.");
    stage.discord.userSays(stage.channel, stage.bob, "zwei", { mention: true });
    await stage.worker.commit(await stage.worker.claim(stage.conversation), "Second.");
    await stage.waitForEmptyOutbox();
    await stage.exchange("three", "Third.");
    expect(await stage.tokens()).toBe(9);
    const panel = await privacy(stage.channel, stage.bob).reply();
    const [, , leaveId = ""] = buttonsOf(panel);
    stage.discord.userPresses(panel, leaveId, stage.bob);
    await stage.discord.waitFor(() => contentOf(panel).startsWith("🗑️ Alles löschen, was du"));
    const [goneId = ""] = buttonsOf(panel);
    stage.discord.userPresses(panel, goneId, stage.bob);
    await stage.discord.waitFor(() => contentOf(panel).includes("2 Wortwechsel"));
    expect(buttonsOf(panel)).toEqual([]);
    expect(await stage.tokens()).toBe(3);
    const lines = await everything(stage.truth);
    expect(lines.filter((line) => line.includes(stage.bob.id) || line.includes("zwei"))).toEqual(
      [],
    );
    // Asked again there is nothing, and the other's words are still there.
    const again = await privacy(stage.channel, stage.bob).reply();
    stage.discord.userPresses(again, buttonsOf(again)[2] ?? "", stage.bob);
    await stage.discord.waitFor(() => contentOf(again).startsWith("🗑️ Alles löschen, was du"));
    stage.discord.userPresses(again, buttonsOf(again)[0] ?? "", stage.bob);
    await stage.discord.waitFor(() => contentOf(again).startsWith("🗑️ Von dir ist"));
    expect(await stage.tokens()).toBe(3);
  });
});
