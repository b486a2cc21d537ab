/** Which session sees which event, and how much of a message: shards, intents, MESSAGE_CONTENT. */
import { GatewayIntentBits as Intent } from "discord-api-types/v10";
import type { Message, MessageWire } from "../messages.ts";
import type { World, WorldEvent } from "../world.ts";

/** Every intent bit Discord defines; any other is invalid (4013). */
export const knownIntents = Object.values(Intent).reduce<number>(
  (sum, bit) => (typeof bit === "number" ? sum | bit : sum),
  0,
);

export const privilegedIntents =
  Intent.GuildMembers | Intent.GuildPresences | Intent.MessageContent;

/** `(guild_id >> 22) % num_shards`; direct messages go to shard 0. */
export function shardOf(guildId: string | null, shardCount: number): number {
  return guildId === null ? 0 : Number((BigInt(guildId) >> 22n) % BigInt(shardCount));
}

export function admits(intents: number, event: WorldEvent): boolean {
  return event.intent === 0 || (intents & event.intent) !== 0;
}

/** The exceptions: its own messages, direct messages, those that mention it or ping-reply to it. */
export function wroteForBot(world: World, message: Message): boolean {
  if (message.author.id === world.bot.id) return true;
  if (world.channel(message.channelId).guildId === null) return true;
  if (new RegExp(`<@!?${world.bot.id}>`).test(message.wire.content)) return true;
  const target = message.replyTo;
  // A ping-reply counts for the bot's regular messages, not for its interaction responses.
  if (!target || target.author.id !== world.bot.id || target.fromInteraction) return false;
  return (message.wire.mentions as readonly { id: string }[]).some(({ id }) => id === world.bot.id);
}

export function withoutContent<T extends Partial<MessageWire>>(wire: T): T {
  const { poll: _, ...rest } = wire as T & { poll?: unknown };
  return { ...rest, content: "", embeds: [], attachments: [], components: [] } as unknown as T;
}

/** The event's data as a session with these intents may see it. */
export function visibleData(world: World, event: WorldEvent, intents: number): object {
  const { message, data } = event;
  const open = !message || (intents & Intent.MessageContent) !== 0 || wroteForBot(world, message);
  return open ? data : withoutContent(data as Partial<MessageWire>);
}
