/** What Discord refuses, one row for each documented limit; and who gets pinged. */
import { ChannelType } from "discord-api-types/v10";
import { describe, expect, test } from "vitest";
import type { Channel, DiscordDouble } from "../index.ts";
import { type Answered, call, scene } from "./support.ts";

/** Codes in an error tree, each with the path to it. */
function codes(tree: unknown, path = ""): string[] {
  if (typeof tree !== "object" || tree === null) return [];
  return Object.entries(tree).flatMap(([key, value]) =>
    key === "_errors"
      ? (value as { code: string }[]).map(({ code }) => `${path}:${code}`)
      : codes(value, path ? `${path}.${key}` : key),
  );
}

const button = (customId: string) => ({ type: 2, style: 2, label: "x", custom_id: customId });
const row = (...components: object[]) => ({ type: 1, components });
const options = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ label: `${i}`, value: `${i}` }));

describe("messages", () => {
  test.each<[what: string, body: object, error: string]>([
    ["content over 2,000", { content: "x".repeat(2_001) }, "content:BASE_TYPE_MAX_LENGTH"],
    ["nonce over 25", { content: "x", nonce: "n".repeat(26) }, "nonce:BASE_TYPE_MAX_LENGTH"],
    [
      "11 embeds",
      { embeds: Array.from({ length: 11 }, () => ({ title: "x" })) },
      "embeds:BASE_TYPE_BAD_LENGTH",
    ],
    [
      "an embed title over 256",
      { embeds: [{ title: "x".repeat(257) }] },
      "embeds.0.title:BASE_TYPE_MAX_LENGTH",
    ],
    [
      "embeds over 6,000 in all",
      { embeds: [{ description: "x".repeat(4_000) }, { description: "x".repeat(2_001) }] },
      "embeds:MAX_EMBED_SIZE_EXCEEDED",
    ],
    [
      "six buttons in a row",
      { content: "x", components: [row(...["1", "2", "3", "4", "5", "6"].map(button))] },
      "components.0.components:BASE_TYPE_BAD_LENGTH",
    ],
    [
      "six rows",
      { content: "x", components: ["1", "2", "3", "4", "5", "6"].map((id) => row(button(id))) },
      "components:BASE_TYPE_BAD_LENGTH",
    ],
    [
      "a custom id twice",
      { content: "x", components: [row(button("a"), button("a"))] },
      "components.0.components.1.custom_id:COMPONENT_CUSTOM_ID_DUPLICATED",
    ],
    [
      "a custom id over 100",
      { content: "x", components: [row(button("a".repeat(101)))] },
      "components.0.components.0.custom_id:BASE_TYPE_BAD_LENGTH",
    ],
    [
      "a label over 80",
      { content: "x", components: [row({ ...button("a"), label: "x".repeat(81) })] },
      "components.0.components.0.label:BASE_TYPE_MAX_LENGTH",
    ],
    [
      "a select with 26 options",
      { content: "x", components: [row({ type: 3, custom_id: "s", options: options(26) })] },
      "components.0.components.0.options:BASE_TYPE_BAD_LENGTH",
    ],
    [
      "a layout component without the V2 flag",
      { content: "x", components: [{ type: 10, content: "x" }] },
      "components.0.type:UNION_TYPE_CHOICES",
    ],
    [
      "content with the V2 flag",
      { content: "x", flags: 1 << 15, components: [{ type: 10, content: "x" }] },
      "content:MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
    ],
    [
      "V2 text over 4,000",
      { flags: 1 << 15, components: [{ type: 10, content: "x".repeat(4_001) }] },
      "components:COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED",
    ],
    [
      "parse and ids of one kind together",
      { content: "x", allowed_mentions: { parse: ["users"], users: ["1".repeat(18)] } },
      "allowed_mentions:MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
    ],
    [
      "a reply to nothing",
      { content: "x", message_reference: { message_id: "1".repeat(18) } },
      "message_reference:REPLIES_UNKNOWN_MESSAGE",
    ],
  ])("%s: 50035", async (_what, body, error) => {
    const { double, channel } = await scene();
    const answer = await call(double, `POST /channels/${channel.id}/messages`, body);
    expect(answer.body.code).toBe(50035);
    expect(codes(answer.body.errors)).toContain(error);
    expect(double.botMessages(channel)).toHaveLength(0);
  });

  test("a reply to nothing is a plain message when fail_if_not_exists is false", async () => {
    const { double, channel } = await scene();
    const message_reference = { message_id: "1".repeat(18), fail_if_not_exists: false };
    const body = { content: "x", message_reference };
    const sent = await call(double, `POST /channels/${channel.id}/messages`, body);
    expect(sent.body).toMatchObject({ type: 0, content: "x" });
  });

  test("characters are counted, not UTF-16 units", async () => {
    const { double, channel } = await scene();
    const path = `POST /channels/${channel.id}/messages`;
    expect((await call(double, path, { content: "🦅".repeat(2_000) })).status).toBe(200);
  });

  test("V2 text over 10,170 bytes is a server error although its characters fit", async () => {
    const { double, channel } = await scene();
    const body = { flags: 1 << 15, components: [{ type: 10, content: "語".repeat(3_500) }] };
    expect((await call(double, `POST /channels/${channel.id}/messages`, body)).status).toBe(500);
  });

  test("V2 cannot be taken back by an edit", async () => {
    const { double, channel } = await scene();
    const components = [{ type: 10, content: "x" }];
    const path = `/channels/${channel.id}/messages`;
    const { body } = await call(double, `POST ${path}`, { flags: 1 << 15, components });
    const edit = await call(double, `PATCH ${path}/${String(body["id"])}`, {
      flags: 0,
      content: "y",
    });
    expect(codes(edit.body.errors)).toContain(
      "content:MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
    );
  });

  test.each<[code: number, request: (channel: string, own: string, theirs: string) => string]>([
    [50006, (channel) => `POST /channels/${channel}/messages`],
    [10003, () => `GET /channels/${"9".repeat(18)}`],
    [10008, (channel) => `GET /channels/${channel}/messages/${"9".repeat(18)}`],
    [50005, (channel, _own, theirs) => `PATCH /channels/${channel}/messages/${theirs}`],
    [50013, (channel, _own, theirs) => `DELETE /channels/${channel}/messages/${theirs}`],
    [10004, () => `GET /guilds/${"9".repeat(18)}`],
    [10015, () => `GET /webhooks/${"9".repeat(18)}/token/messages/%40original`],
    [0, () => "GET /no/such/route"],
  ])("code %i", async (code, request) => {
    const { double, channel, user } = await scene();
    const own = await call(double, `POST /channels/${channel.id}/messages`, { content: "x" });
    const theirs = double.userSays(channel, user, "theirs");
    const text = request(channel.id, String(own.body["id"]), theirs.id);
    const answer = await call(double, text, text.startsWith("GET") ? undefined : {});
    expect(answer.body.code).toBe(code);
    expect(answer.status).toBeGreaterThanOrEqual(400);
  });
});

const command = (name: string, more: object = {}) => ({ name, description: "x", ...more });

describe("commands", () => {
  test.each(["ask", "ρώτησε", "ถาม", "पूछें", "質問", "попитай", "l'aide", "a-b_c"])(
    "%s is a good name",
    async (name) => {
      const { double } = await scene();
      const path = `PUT /applications/${double.applicationId}/commands`;
      const answer = await call(double, path, [command(name)]);
      expect(answer.body).toMatchObject([
        { name, type: 1, version: expect.stringMatching(/^\d{17,19}$/) },
      ]);
    },
  );

  const tooLong = { name: "o", description: "x".repeat(100), type: 3 };
  const choices = Array.from({ length: 25 }, (_, i) => ({
    name: `${i}`.padEnd(100, "n"),
    value: `${i}`.padEnd(100, "v"),
  }));
  test.each<[what: string, commands: object[], error: string]>([
    ["a capital", [command("Demander")], "0.name:APPLICATION_COMMAND_INVALID_NAME"],
    ["Greek capitals", [command("ΡΩΤΑ")], "0.name:APPLICATION_COMMAND_INVALID_NAME"],
    ["a space", [command("two words")], "0.name:APPLICATION_COMMAND_INVALID_NAME"],
    ["33 characters", [command("x".repeat(33))], "0.name:BASE_TYPE_BAD_LENGTH"],
    ["no description", [{ name: "a" }], "0.description:BASE_TYPE_REQUIRED"],
    ["a namesake", [command("a"), command("a")], "1:APPLICATION_COMMANDS_DUPLICATE_NAME"],
    [
      "an unknown locale",
      [command("a", { name_localizations: { xx: "a" } })],
      "0.name_localizations.xx:BASE_TYPE_CHOICES",
    ],
    [
      "a bad localised name",
      [command("a", { name_localizations: { fr: "Demander" } })],
      "0.name_localizations.fr:APPLICATION_COMMAND_INVALID_NAME",
    ],
    [
      "a required option after an optional one",
      [
        command("a", {
          options: [command("b", { type: 3 }), command("c", { type: 3, required: true })],
        }),
      ],
      "0.options.1:APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
    ],
    [
      "a localised option name that is another option's default name",
      [
        command("a", {
          options: [
            command("b", { type: 3 }),
            command("c", { type: 3, name_localizations: { de: "b" } }),
          ],
        }),
      ],
      "0.options.1.name_localizations.de:APPLICATION_COMMAND_OPTIONS_NAME_DUPLICATE",
    ],
    [
      "8,000 characters in all",
      [
        command("a", {
          options: [
            { ...tooLong, choices },
            { ...tooLong, name: "p", choices },
          ],
        }),
      ],
      "0:APPLICATION_COMMAND_TOO_LARGE",
    ],
  ])("%s is refused", async (_what, commands, error) => {
    const { double } = await scene();
    const path = `PUT /applications/${double.applicationId}/commands`;
    const answer = await call(double, path, commands);
    expect(answer.body.code).toBe(50035);
    expect(codes(answer.body.errors)).toContain(error);
  });

  test("a command with contexts is offered only there", async () => {
    const { double, channel, user } = await scene();
    const path = `PUT /applications/${double.applicationId}/commands`;
    await call(double, path, [command("inside", { contexts: [0] })]);
    const direct = double.directChannel(user);
    expect(double.userRunsCommand(channel, user, "inside").acknowledged).toBeNull();
    expect(() => double.userRunsCommand(direct, user, "inside")).toThrow("not offered here");
  });

  test("16 message menus are too many; 15 are not", async () => {
    const { double } = await scene();
    const path = `PUT /applications/${double.applicationId}/commands`;
    const menus = Array.from({ length: 16 }, (_, i) => ({ name: `Menu ${i}`, type: 3 }));
    expect((await call(double, path, menus)).body.code).toBe(30032);
    expect((await call(double, path, menus.slice(1))).status).toBe(200);
  });

  test("200 creates a day; overwriting the same ones costs none and keeps ids", async () => {
    const { double } = await scene();
    const path = `PUT /applications/${double.applicationId}/commands`;
    const batch = (prefix: string) =>
      Array.from({ length: 100 }, (_, i) => command(`${prefix}${i}`));
    const first = await call(double, path, batch("a"));
    const again = await call(double, path, batch("a"));
    expect(again.body[0]).toMatchObject({ id: (first.body[0] as { id: string }).id });
    expect((await call(double, path, batch("b"))).status).toBe(200);
    expect((await call(double, path, [command("c")])).body.code).toBe(30034);
    double.clock.pass(24 * 3_600_000);
    expect((await call(double, path, [command("c")])).status).toBe(200);
  });
});

describe("mentions", () => {
  test.each<[what: string, allowed: object | undefined, pinged: number]>([
    ["everything, when allowed_mentions is absent", undefined, 4],
    ["nothing", { parse: [] }, 0],
    ["users only", { parse: ["users"] }, 1],
    ["a listed role, and the author replied to", { roles: ["ROLE"], replied_user: true }, 2],
  ])("%s, on create and again on edit", async (_what, allowed, pinged) => {
    const { double, guild, channel, user } = await scene();
    const role = double.world.addRole(guild, { name: "keepers" });
    const asker = double.addUser({ name: "Bob" });
    const said = double.userSays(channel, asker, "?", { mention: true });
    double.world.join(guild, user);
    const content = `<@${user.id}> <@&${role.id}> @everyone`;
    const text = JSON.stringify(allowed)?.replace("ROLE", role.id);
    const mentions = text === undefined ? {} : { allowed_mentions: JSON.parse(text) as object };
    const message_reference = { message_id: said.id };
    const path = `/channels/${channel.id}/messages`;
    const sent = await call(double, `POST ${path}`, { content, message_reference, ...mentions });
    expect(double.counters().mentionsDelivered).toBe(pinged);
    await call(double, `PATCH ${path}/${String(sent.body["id"])}`, { content, ...mentions });
    expect(double.counters().mentionsDelivered).toBe(2 * pinged);
    const on = double.pings.map((ping) => ping.on);
    expect(on).toEqual(pinged > 0 ? ["create", "edit"] : []);
  });

  test("an edit that leaves allowed_mentions out parses all of them again", async () => {
    const { double, channel } = await scene();
    const path = `/channels/${channel.id}/messages`;
    const quiet = { content: "@here", allowed_mentions: { parse: [] } };
    const { body } = await call(double, `POST ${path}`, quiet);
    expect(double.pings).toEqual([]);
    await call(double, `PATCH ${path}/${String(body["id"])}`, { components: [] });
    expect(double.pings).toMatchObject([{ on: "edit", everyone: true }]);
  });
});

test("the dashboard's OAuth: authorise, redeem once, list guilds", async () => {
  const { double, guild } = await scene();
  const owner = double.world.user(guild.ownerId);
  double.grants.browserUser = owner;
  const redirect = "http://127.0.0.1:1/callback";
  const query = new URLSearchParams({ redirect_uri: redirect, state: "s", scope: "guilds" });
  const page = await fetch(`${double.restUrl}/oauth2/authorize?${query.toString()}`, {
    redirect: "manual",
  });
  const back = new URL(page.headers.get("location") ?? "");
  expect(back.searchParams.get("state")).toBe("s");
  const code = back.searchParams.get("code") ?? "";
  const redeem = () =>
    fetch(`${double.restUrl}/oauth2/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "authorization_code",
        code,
        redirect_uri: redirect,
      }),
    });
  const granted = (await (await redeem()).json()) as { access_token: string };
  expect((await redeem()).status).toBe(400);
  const authorization = `Bearer ${granted.access_token}`;
  const guilds = await call(double, "GET /users/@me/guilds", undefined, { authorization });
  expect(guilds.body).toMatchObject([{ id: guild.id, owner: true }]);
  const asBot = await call(double, "GET /gateway/bot", undefined, { authorization });
  expect(asBot.status).toBe(401);
});

/** Starts a thread from a message that is said there. */
async function startThread(
  { double }: { readonly double: DiscordDouble },
  place: Channel,
): Promise<Answered> {
  const message = double.userSays(place, double.addUser({ name: "Eve" }), "here");
  const path = `/channels/${place.id}/messages/${message.id}/threads`;
  return call(double, `POST ${path}`, { name: "aside" });
}

describe("threads from messages", () => {
  test("start in text and announcement channels, each in its own kind", async () => {
    const all = await scene();
    const news = all.double.addChannel(all.guild, {
      name: "news",
      type: ChannelType.GuildAnnouncement,
    });
    expect((await startThread(all, all.channel)).body["type"]).toBe(ChannelType.PublicThread);
    expect((await startThread(all, news)).body["type"]).toBe(ChannelType.AnnouncementThread);
  });

  test("start nowhere else, and once for each message", async () => {
    const all = await scene();
    const { double, channel, user } = all;
    expect(await startThread(all, double.directChannel(user))).toMatchObject({
      status: 400,
      body: { code: 50024 },
    });
    const message = double.userSays(channel, user, "here");
    const path = `POST /channels/${channel.id}/messages/${message.id}/threads`;
    expect((await call(double, path, { name: "one" })).status).toBe(201);
    expect((await call(double, path, { name: "two" })).body.code).toBe(160_004);
    const thread = double.world.channel(message.id);
    expect((await startThread(all, thread)).body.code).toBe(50_024);
  });
});
