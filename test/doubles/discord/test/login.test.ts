/** Coming in: tokens, intents, shards. */
import { Events, GatewayIntentBits as Intent } from "discord.js";
import { expect, test } from "vitest";
import { client, loggedIn, scene } from "./support.ts";

test("a wrong token is refused by REST as TokenInvalid", async () => {
  const { double } = await scene();
  await expect(client(double).login(`${double.token}x`)).rejects.toMatchObject({
    code: "TokenInvalid",
  });
});

test("MESSAGE_CONTENT that is not switched on ends with 4014", async () => {
  const { double } = await scene();
  const bot = client(double, [Intent.Guilds, Intent.GuildMessages, Intent.MessageContent]);
  const gone = new Promise<Error>((resolve) => bot.once(Events.ShardError, resolve));
  void bot.login(double.token).catch(() => null);
  expect((await gone).message).toBe("Used disallowed intents");
  await double.waitFor(() => double.gateway.counters.closes.includes(4014));
});

test("guilds are spread over shards by (id >> 22) % count", async () => {
  const { double, guild, channel, user } = await scene({ shards: 2, maxConcurrency: 2 });
  const { Client } = await import("discord.js");
  const bot = new Client({
    intents: [Intent.Guilds, Intent.GuildMessages],
    shards: "auto",
    rest: { api: double.restUrl },
  });
  try {
    await bot.login(double.token);
    await double.waitFor(() => bot.guilds.cache.has(guild.id));
    expect(bot.ws.shards.size).toBe(2);
    expect(bot.guilds.cache.get(guild.id)?.shardId).toBe(Number((BigInt(guild.id) >> 22n) % 2n));
    let heard = 0;
    bot.on(Events.MessageCreate, () => (heard += 1));
    double.userSays(channel, user, "once", { mention: true });
    await double.waitFor(() => heard > 0);
    expect(heard).toBe(1);
  } finally {
    await bot.destroy();
  }
});

test("a guild that fails and comes back is announced again", async () => {
  const { double, guild } = await scene();
  const bot = await loggedIn(double);
  double.world.loseGuild(guild, "outage");
  await double.waitFor(() => bot.guilds.cache.get(guild.id)?.available === false);
  double.world.restoreGuild(guild);
  await double.waitFor(() => bot.guilds.cache.get(guild.id)?.available);
  expect(bot.guilds.cache.get(guild.id)?.preferredLocale).toBe("fr");
});
