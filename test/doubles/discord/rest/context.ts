/** What route handlers work on, and the checks they share. */
import { PermissionFlagsBits as P } from "discord-api-types/v10";
import type { Commands } from "../commands.ts";
import type { Interactions } from "../interactions.ts";
import type { Message, Messages } from "../messages.ts";
import { permissionsIn } from "../permissions.ts";
import type { Channel, Guild, World } from "../world.ts";
import { isThread } from "../places.ts";
import { missingAccess, missingPermissions, unknownChannel, unknownGuild } from "./errors.ts";
import { unknownMessage } from "./errors.ts";
import { param } from "./request.ts";
import type { Call } from "./request.ts";

export interface RestContext {
  readonly world: World;
  readonly messages: Messages;
  readonly interactions: Interactions;
  readonly commands: Commands;
  /** How long a nonce is remembered ("the past few minutes"). */
  readonly nonceWindowMs: number;
  /** Edits of messages older than an hour: so many in a channel before code 30046. */
  readonly oldEdits: { readonly limit: number; readonly windowMs: number };
  /** MESSAGE_CONTENT is switched on for the application. */
  readonly seesContent: () => boolean;
}

/** `:channel`, if the bot can see it: 10003 unknown, 50001 not visible. */
export function channelOf(context: RestContext, call: Call): Channel {
  const channel = context.world.channels.get(param(call, "channel"));
  if (!channel) throw unknownChannel();
  const guild = channel.guildId === null ? null : context.world.guild(channel.guildId);
  if (guild && !guild.available) throw missingAccess();
  demand(context, channel, P.ViewChannel);
  return channel;
}

/** Throws 50001 when the bot cannot see the channel, 50013 when it lacks another right. */
export function demand(context: RestContext, channel: Channel, permissions: bigint): void {
  const has = permissionsIn(context.world, channel, context.world.bot.id);
  if ((has & P.ViewChannel) === 0n) throw missingAccess();
  if ((has & permissions) !== permissions) throw missingPermissions();
}

export const mayReadHistory = (context: RestContext, channel: Channel): boolean =>
  (permissionsIn(context.world, channel, context.world.bot.id) & P.ReadMessageHistory) !== 0n;

export const sendRight = (channel: Channel): bigint =>
  isThread(channel) ? P.SendMessagesInThreads : P.SendMessages;

export function messageOf(context: RestContext, call: Call): Message {
  const message = context.messages.visible(param(call, "channel"), param(call, "message"));
  if (!message) throw unknownMessage();
  return message;
}

/** `:guild`, if the bot is in it: 10004 unknown, 50001 not a member. */
export function guildOf(context: RestContext, call: Call): Guild {
  const guild = context.world.guilds.get(param(call, "guild"));
  if (!guild) throw unknownGuild();
  if (!guild.members.has(context.world.bot.id)) throw missingAccess();
  return guild;
}
