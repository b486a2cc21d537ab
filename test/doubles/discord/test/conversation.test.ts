/** discord.js' own Client, unmodified, holds a conversation with the double. */
import {
  ActionRowBuilder,
  ButtonBuilder,
  ButtonStyle,
  DiscordAPIError,
  Events,
  GatewayIntentBits,
  MessageFlags,
  SlashCommandBuilder,
  ThreadAutoArchiveDuration,
} from "discord.js";
import { describe, expect, test } from "vitest";
import { Permission } from "../index.ts";
import { call, client, loggedIn, onInteraction, onUserMessage, scene } from "./support.ts";

describe("messages", () => {
  test("a mention is read, answered with a reply, and the reply edited", async () => {
    const { double, channel, user } = await scene();
    const bot = await loggedIn(double);
    onUserMessage(bot, async (message) => {
      const reply = await message.reply({
        content: `…${message.content.replace(/<@\d+> /, "")}`,
        allowedMentions: { parse: [] },
      });
      await reply.edit({ content: "done", allowedMentions: { parse: [] } });
    });
    const said = double.userSays(channel, user, "hello", { mention: true });
    const reply = await double.waitForReply(channel, (m) => m.wire.content === "done");
    expect(reply.replyTo).toBe(said);
    expect(reply.history.map((version) => version.content)).toEqual(["…hello", "done"]);
    expect(double.counters()).toMatchObject({ mentionsDelivered: 0, rateLimited: 0 });
  });

  test("content is blank without MESSAGE_CONTENT, except where Discord makes exceptions", async () => {
    const { double, channel, user } = await scene();
    const bot = await loggedIn(double);
    const seen: string[] = [];
    bot.on(Events.MessageCreate, (message) => {
      if (!message.author.bot) seen.push(message.content);
    });
    const own = await bot.channels.cache.get(channel.id)?.fetch();
    const sent = own?.isSendable() ? await own.send("I am here") : null;
    double.userSays(channel, user, "overheard");
    double.userSays(channel, user, "for you", { mention: true });
    double.userSays(channel, user, "ping-reply", { replyTo: sent?.id ?? "" });
    double.userSays(channel, user, "silent reply", { replyTo: sent?.id ?? "", ping: false });
    double.userSays(double.directChannel(user), user, "in private");
    await double.waitFor(() => seen.length === 5);
    const mention = `<@${double.botUser.id}> for you`;
    expect(seen.toSorted()).toEqual(["", "", "in private", "ping-reply", mention].toSorted());
  });

  test("with the intent switched on, everything is read", async () => {
    const enabledIntents = GatewayIntentBits.MessageContent;
    const { double, channel, user } = await scene({ enabledIntents });
    const { Guilds, GuildMessages, MessageContent } = GatewayIntentBits;
    const bot = await loggedIn(double, [Guilds, GuildMessages, MessageContent]);
    const seen: string[] = [];
    bot.on(Events.MessageCreate, (message) => void seen.push(message.content));
    double.userSays(channel, user, "overheard");
    await double.waitFor(() => seen.length === 1);
    expect(seen).toEqual(["overheard"]);
  });

  test("edits, deletions, lost channels and guilds reach the client", async () => {
    const { double, guild, channel, user } = await scene();
    const bot = await loggedIn(double);
    const seen: string[] = [];
    bot.on(Events.MessageUpdate, (_, message) => void seen.push(`edited ${message.content}`));
    bot.on(Events.MessageDelete, (message) => void seen.push(`deleted ${message.id}`));
    bot.on(Events.ChannelDelete, (gone) => void seen.push(`channel ${gone.id}`));
    bot.on(Events.GuildDelete, (gone) => void seen.push(`guild ${gone.id}`));
    const said = double.userSays(channel, user, "first", { mention: true });
    double.userEdits(said, `<@${double.botUser.id}> second`);
    double.deleteMessage(said);
    double.world.deleteChannel(channel);
    double.world.loseGuild(guild, "removed");
    await double.waitFor(() => seen.length === 4);
    expect(seen).toEqual([
      `edited <@${double.botUser.id}> second`,
      `deleted ${said.id}`,
      `channel ${channel.id}`,
      `guild ${guild.id}`,
    ]);
  });

  test("a right taken away while the bot writes becomes 50013, then 50001", async () => {
    const { double, channel } = await scene();
    const bot = await loggedIn(double);
    const place = await bot.channels.fetch(channel.id);
    if (!place?.isSendable()) throw new Error("not sendable");
    double.denyBot(channel, Permission.SendMessages);
    await expect(place.send("hi")).rejects.toMatchObject({ code: 50013 });
    double.denyBot(channel, Permission.ViewChannel);
    await expect(place.send("hi")).rejects.toMatchObject({ code: 50001 });
    double.denyBot(channel, 0n);
    await expect(place.send("hi")).resolves.toMatchObject({ content: "hi" });
  });

  test("threads, files and pages of history", async () => {
    const { double, channel, user } = await scene();
    const bot = await loggedIn(double);
    const place = await bot.channels.fetch(channel.id);
    if (!place?.isTextBased() || place.isDMBased() || !("threads" in place)) throw new Error("?");
    for (const text of ["one", "two", "three"]) {
      double.userSays(channel, user, text, { mention: true });
    }
    const page = await place.messages.fetch({ limit: 2 });
    expect([...page.values()].map((m) => m.content.split(" ").at(-1))).toEqual(["three", "two"]);
    const older = await place.messages.fetch({ limit: 5, before: page.lastKey() ?? "" });
    expect(older.size).toBe(1);
    const thread = await page.first()?.startThread({
      name: "aside",
      autoArchiveDuration: ThreadAutoArchiveDuration.OneHour,
    });
    expect(thread?.id).toBe(page.firstKey());
    const file = { attachment: Buffer.from("ä".repeat(10)), name: "notes.txt" };
    const sent = await thread?.send({ content: "with a file", files: [file] });
    expect(sent?.attachments.first()).toMatchObject({ name: "notes.txt", size: 20 });
  });
});

describe("interactions", () => {
  const commands = [
    new SlashCommandBuilder()
      .setName("chat")
      .setDescription("Say something")
      .addStringOption((option) => option.setName("text").setDescription("What").setRequired(true)),
  ];
  const stop = new ActionRowBuilder<ButtonBuilder>().addComponents(
    new ButtonBuilder().setCustomId("v1:stop").setLabel("Stop").setStyle(ButtonStyle.Secondary),
  );

  test("a slash command is deferred, edited, and its button pressed", async () => {
    const { double, guild, channel, user } = await scene();
    const bot = await loggedIn(double);
    await bot.application?.commands.set(commands, guild.id);
    onInteraction(bot, async (event) => {
      if (event.isChatInputCommand()) {
        await event.deferReply();
        const text = `${event.options.getString("text")} ${event.locale} ${event.guildLocale}`;
        await event.editReply({ content: text, components: [stop] });
      } else if (event.isButton()) {
        await event.update({ content: `${event.message.content}, stopped`, components: [] });
        await event.followUp({ content: "only you", flags: MessageFlags.Ephemeral });
      }
    });
    const run = double.userRunsCommand(channel, user, "chat", { options: { text: "hi" } });
    expect(await run.response()).toBe(5);
    const reply = await double.waitFor(() =>
      run.messages.find((m) => m.wire.components.length > 0),
    );
    expect(reply.wire.content).toBe("hi de fr");
    const press = double.userPresses(reply, "v1:stop", user);
    const note = await double.waitFor(() => press.messages[1]);
    expect(reply.wire.content).toBe("hi de fr, stopped");
    expect(note).toMatchObject({ ephemeralFor: user.id, wire: { content: "only you" } });
    expect(() => double.userPresses(reply, "v1:stop", user)).toThrow("no component");
    const listed = await call(double, `GET /channels/${channel.id}/messages`);
    expect(listed.body).toHaveLength(1);
  });

  test("answered twice: 40060; answered after 3 s: 10062", async () => {
    const { double, guild, channel, user } = await scene();
    const bot = await loggedIn(double);
    await bot.application?.commands.set(commands, guild.id);
    const codes: unknown[] = [];
    onInteraction(bot, async (event) => {
      if (!event.isChatInputCommand()) return;
      if (event.options.getString("text") === "late") double.clock.pass(3_001);
      const twice = [
        event.reply("one"),
        bot.rest.post(`/interactions/${event.id}/${event.token}/callback`, { body: { type: 5 } }),
      ];
      for (const outcome of await Promise.allSettled(twice)) {
        const reason: unknown = outcome.status === "rejected" ? outcome.reason : null;
        codes.push(reason instanceof DiscordAPIError ? reason.code : "fine");
      }
    });
    double.userRunsCommand(channel, user, "chat", { options: { text: "twice" } });
    await double.waitFor(() => codes.length === 2);
    expect(codes).toHaveLength(2);
    expect(codes).toEqual(expect.arrayContaining([40060, "fine"]));
    double.userRunsCommand(channel, user, "chat", { options: { text: "late" } });
    await double.waitFor(() => codes.length === 4);
    expect(codes.slice(2)).toEqual([10062, 10062]);
  });

  test("the token dies after 15 minutes: 50027", async () => {
    const { double, guild, channel, user } = await scene();
    const bot = await loggedIn(double);
    await bot.application?.commands.set(commands, guild.id);
    const codes: unknown[] = [];
    onInteraction(bot, async (event) => {
      if (!event.isChatInputCommand()) return;
      await event.deferReply({ flags: MessageFlags.Ephemeral });
      await event.editReply("in time");
      double.clock.pass(15 * 60_000);
      await event.editReply("too late").catch((error: DiscordAPIError) => codes.push(error.code));
    });
    const run = double.userRunsCommand(channel, user, "chat", { options: { text: "x" } });
    await double.waitFor(() => codes.length === 1);
    expect(codes).toEqual([50027]);
    const [reply] = run.messages;
    expect(reply?.wire).toMatchObject({ content: "in time", flags: MessageFlags.Ephemeral });
  });

  test("in a direct message, with a follow-up that ends a deferral", async () => {
    const { double, user } = await scene();
    const bot = await loggedIn(double);
    await bot.application?.commands.set(commands);
    onInteraction(bot, async (event) => {
      if (!event.isChatInputCommand()) return;
      await event.deferReply();
      await event.followUp("takes the deferred place");
      await event.followUp("comes after it");
    });
    const direct = double.directChannel(user);
    const run = double.userRunsCommand(direct, user, "chat", { options: { text: "x" } });
    await double.waitFor(() => run.messages.length === 2);
    const texts = run.messages.map((message) => message.wire.content);
    expect(texts).toEqual(["takes the deferred place", "comes after it"]);
  });

  test("what a user could not do throws in the test, not in the bot", async () => {
    const { double, guild, channel, user } = await scene();
    const bot = client(double);
    bot.rest.setToken(double.token);
    const admin = { name: "purge", description: "x", default_member_permissions: "32" };
    const path = `/applications/${double.applicationId}/guilds/${guild.id}/commands`;
    expect((await call(double, `PUT ${path}`, [admin])).status).toBe(200);
    expect(() => double.userRunsCommand(channel, user, "purge")).toThrow("may not run");
    double.world.join(guild, user, { permissions: Permission.ManageGuild });
    expect(double.userRunsCommand(channel, user, "purge").acknowledged).toBeNull();
    expect(() => double.userRunsCommand(channel, user, "nothing")).toThrow("no command");
  });
});
