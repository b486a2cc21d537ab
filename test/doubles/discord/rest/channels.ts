/** Channels and threads, guilds and their members. */
import { ChannelType, PermissionFlagsBits as P } from "discord-api-types/v10";
import { Form } from "../rules/form.ts";
import { channelWire, guildSummaryWire, memberWire, userWire } from "../wire.ts";
import { type Channel, isThread } from "../places.ts";
import { channelOf, demand, guildOf, messageOf } from "./context.ts";
import type { RestContext } from "./context.ts";
import { threadExists, unknownChannel, unknownMember, wrongChannelType } from "./errors.ts";
import { bodyOf, noContent, ok, param } from "./request.ts";
import type { Answer, Call, Route } from "./request.ts";

export function channelRoutes(context: RestContext): Route[] {
  const { world } = context;
  return [
    {
      method: "GET",
      path: "/channels/:channel",
      auth: "bot",
      handle: (call) => ok(channelWire(world, channelOf(context, call))),
    },
    {
      method: "PATCH",
      path: "/channels/:channel",
      auth: "bot",
      handle: (call) => changeThread(context, call),
    },
    {
      method: "POST",
      path: "/channels/:channel/threads",
      auth: "bot",
      handle: (call) => startThread(context, call),
    },
    {
      method: "POST",
      path: "/channels/:channel/messages/:message/threads",
      auth: "bot",
      handle: (call) => startThreadFrom(context, call),
    },
    {
      method: "PUT",
      path: "/channels/:channel/thread-members/@me",
      auth: "bot",
      handle: (call) => {
        channelOf(context, call);
        return noContent;
      },
    },
    {
      method: "GET",
      path: "/guilds/:guild",
      auth: "bot",
      handle: (call) => ok(guildSummaryWire(guildOf(context, call))),
    },
    {
      method: "GET",
      path: "/guilds/:guild/channels",
      auth: "bot",
      handle: (call) => {
        const channels = world.channelsOf(guildOf(context, call).id);
        return ok(channels.filter((one) => !isThread(one)).map((one) => channelWire(world, one)));
      },
    },
    {
      method: "GET",
      path: "/guilds/:guild/members/:user",
      auth: "bot",
      handle: (call) => {
        const id = param(call, "user");
        const member = guildOf(context, call).members.get(id);
        if (!member) throw unknownMember();
        return ok({ ...memberWire(member), user: userWire(world.user(id)) });
      },
    },
  ];
}

function threadName(call: Call): string {
  const form = new Form();
  const { name } = bodyOf(call);
  form.text(["name"], name, { min: 1, max: 100, required: true });
  form.settle();
  return String(name);
}

function startThread(context: RestContext, call: Call): Answer {
  const parent = channelOf(context, call);
  const isPrivate = bodyOf(call)["type"] !== ChannelType.PublicThread;
  demand(context, parent, isPrivate ? P.CreatePrivateThreads : P.CreatePublicThreads);
  const type = isPrivate ? ChannelType.PrivateThread : ChannelType.PublicThread;
  const { world } = context;
  const thread = world.addThread(parent, { name: threadName(call), type, by: world.bot });
  return { status: 201, body: channelWire(world, thread) };
}

function startThreadFrom(context: RestContext, call: Call): Answer {
  const parent = channelOf(context, call);
  const type = threadTypeIn(parent);
  demand(context, parent, P.CreatePublicThreads);
  const { world, messages } = context;
  const message = messageOf(context, call);
  if (message.threadId !== null) throw threadExists();
  const thread = world.addThread(parent, {
    name: threadName(call),
    type,
    id: message.id,
    by: world.bot,
  });
  messages.setThread(message, thread.id);
  return { status: 201, body: channelWire(world, thread) };
}

/** Threads start from messages of text and announcement channels: 50024 in any other. */
function threadTypeIn(parent: Channel): ChannelType {
  if (parent.type === ChannelType.GuildText) return ChannelType.PublicThread;
  if (parent.type === ChannelType.GuildAnnouncement) return ChannelType.AnnouncementThread;
  throw wrongChannelType();
}

/** Only what a bot does to its own threads: archive and open again. */
function changeThread(context: RestContext, call: Call): Answer {
  const channel = channelOf(context, call);
  if (!isThread(channel)) throw unknownChannel();
  const { archived } = bodyOf(call);
  if (typeof archived === "boolean") context.world.setArchived(channel, archived);
  return ok(channelWire(context.world, channel));
}
