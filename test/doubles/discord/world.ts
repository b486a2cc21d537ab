/**
 * The world the bot lives in: users, guilds, channels, memberships. Owns their identity and
 * lifetime, and reports each change as the gateway event Discord would send.
 *
 * Look-ups throw on an unknown id: routes that take ids from the wire ask `find…` first and answer
 * with Discord's own code. Messages live in `messages.ts`.
 */
import assert from "node:assert/strict";
import { ChannelType, GatewayIntentBits as Intent } from "discord-api-types/v10";
import type { DoubleClock } from "./clock.ts";
import { Snowflakes } from "./clock.ts";
import { everyoneDefault } from "./permissions.ts";
import type { Message } from "./messages.ts";
import { isThread } from "./places.ts";
import type { Channel, Guild, Overwrite, Role, User } from "./places.ts";
import { channelWire, guildWire } from "./wire.ts";

export type { Channel, Guild, Member, Role, User } from "./places.ts";

/** One gateway event before intents, shards and sequence numbers. */
export interface WorldEvent {
  readonly type: string;
  readonly data: object;
  /** null: a direct message; goes to shard 0. */
  readonly guildId: string | null;
  /** The intent that admits it; 0 is always delivered. */
  readonly intent: number;
  /** Set when `data` carries message content, which may have to be blanked. */
  readonly message?: Message;
}

export interface WorldOptions {
  readonly clock: DoubleClock;
  readonly publish: (event: WorldEvent) => void;
  readonly botName: string;
}

export class World {
  readonly clock: DoubleClock;
  readonly ids: Snowflakes;
  readonly publish: (event: WorldEvent) => void;
  readonly applicationId: string;
  readonly bot: User;
  readonly users = new Map<string, User>();
  readonly guilds = new Map<string, Guild>();
  readonly channels = new Map<string, Channel>();

  constructor(options: WorldOptions) {
    this.clock = options.clock;
    this.ids = new Snowflakes(options.clock);
    this.publish = options.publish;
    // The bot user of an application made since 2016 has the application's own id.
    this.applicationId = this.ids.next();
    this.bot = { id: this.applicationId, name: options.botName, locale: "en-US", bot: true };
    this.users.set(this.bot.id, this.bot);
  }

  user(id: string): User {
    const user = this.users.get(id);
    assert(user, `no user ${id}`);
    return user;
  }

  guild(id: string): Guild {
    const guild = this.guilds.get(id);
    assert(guild, `no guild ${id}`);
    return guild;
  }

  channel(id: string): Channel {
    const channel = this.channels.get(id);
    assert(channel, `no channel ${id}`);
    return channel;
  }

  /** Guilds the bot is in, in order of creation. */
  liveGuilds(): Guild[] {
    return [...this.guilds.values()].filter((guild) => guild.available);
  }

  channelsOf(guildId: string): Channel[] {
    return [...this.channels.values()].filter((channel) => channel.guildId === guildId);
  }

  addUser(options: { name: string; locale?: string }): User {
    const { name, locale = "en-US" } = options;
    const user: User = { id: this.ids.next(), name, locale, bot: false };
    this.users.set(user.id, user);
    return user;
  }

  /** The bot is in it from the start; so is the owner. Users join on their first act. */
  addGuild(options: { name: string; preferredLocale?: string; owner?: User }): Guild {
    const owner = options.owner ?? this.addUser({ name: `owner of ${options.name}` });
    const id = this.ids.next();
    const guild: Guild = {
      id,
      name: options.name,
      preferredLocale: options.preferredLocale ?? "en-US",
      ownerId: owner.id,
      roles: [{ id, name: "@everyone", permissions: everyoneDefault, mentionable: false }],
      members: new Map(),
      available: true,
    };
    this.guilds.set(id, guild);
    this.join(guild, this.bot);
    this.join(guild, owner);
    this.#announce(guild);
    return guild;
  }

  addRole(guild: Guild, options: { name: string; permissions?: bigint; mentionable?: boolean }) {
    const { name, permissions = 0n, mentionable = false } = options;
    const role: Role = { id: this.ids.next(), name, permissions, mentionable };
    guild.roles.push(role);
    return role;
  }

  /** Makes (or re-makes) a membership; silent, as GUILD_MEMBERS is a privileged intent. */
  join(guild: Guild, user: User, rights: { roleIds?: string[]; permissions?: bigint } = {}): void {
    guild.members.set(user.id, {
      roleIds: rights.roleIds ?? [],
      permissions: rights.permissions ?? 0n,
      joinedAtMs: this.clock.now(),
    });
  }

  addChannel(guild: Guild, options: { name: string; type?: ChannelType }): Channel {
    const channel = this.#keep({
      guildId: guild.id,
      name: options.name,
      type: options.type ?? ChannelType.GuildText,
      creatorId: guild.ownerId,
    });
    this.#channelEvent("CHANNEL_CREATE", channel);
    return channel;
  }

  /** The one direct-message channel of bot and user; opened on first use. */
  directChannel(user: User): Channel {
    for (const channel of this.channels.values()) {
      if (channel.recipientId === user.id) return channel;
    }
    return this.#keep({
      guildId: null,
      name: user.name,
      type: ChannelType.DM,
      recipientId: user.id,
      creatorId: user.id,
    });
  }

  /** A thread started from a message takes that message's id, as on Discord. */
  addThread(parent: Channel, thread: { name: string; type: ChannelType; id?: string; by: User }) {
    const channel = this.#keep({
      ...(thread.id === undefined ? {} : { id: thread.id }),
      guildId: parent.guildId,
      name: thread.name,
      type: thread.type,
      parentId: parent.id,
      creatorId: thread.by.id,
    });
    this.publish({
      type: "THREAD_CREATE",
      data: { ...channelWire(this, channel), newly_created: true },
      guildId: channel.guildId,
      intent: Intent.Guilds,
    });
    return channel;
  }

  setArchived(thread: Channel, archived: boolean): void {
    if (thread.archived === archived) return;
    thread.archived = archived;
    this.#channelEvent("THREAD_UPDATE", thread);
  }

  setOverwrite(channel: Channel, overwrite: Overwrite): void {
    channel.overwrites = [...channel.overwrites.filter((o) => o.id !== overwrite.id), overwrite];
    this.#channelEvent("CHANNEL_UPDATE", channel);
  }

  deleteChannel(channel: Channel): void {
    for (const thread of this.channels.values()) {
      if (thread.parentId === channel.id) this.deleteChannel(thread);
    }
    this.channels.delete(channel.id);
    this.#channelEvent(isThread(channel) ? "THREAD_DELETE" : "CHANNEL_DELETE", channel);
  }

  /** `outage`: the guild comes back; otherwise the bot was removed from it. */
  loseGuild(guild: Guild, why: "outage" | "removed"): void {
    guild.available = false;
    if (why === "removed") guild.members.delete(this.bot.id);
    const data = why === "outage" ? { id: guild.id, unavailable: true } : { id: guild.id };
    this.publish({ type: "GUILD_DELETE", data, guildId: guild.id, intent: Intent.Guilds });
  }

  restoreGuild(guild: Guild): void {
    guild.available = true;
    if (!guild.members.has(this.bot.id)) this.join(guild, this.bot);
    this.#announce(guild);
  }

  #announce(guild: Guild): void {
    const data = guildWire(this, guild);
    this.publish({ type: "GUILD_CREATE", data, guildId: guild.id, intent: Intent.Guilds });
  }

  #channelEvent(type: string, channel: Channel): void {
    const data = channelWire(this, channel);
    this.publish({ type, data, guildId: channel.guildId, intent: Intent.Guilds });
  }

  #keep(
    part: Pick<Channel, "guildId" | "name" | "type" | "creatorId"> &
      Partial<Pick<Channel, "id" | "recipientId" | "parentId">>,
  ): Channel {
    const channel: Channel = {
      id: part.id ?? this.ids.next(),
      guildId: part.guildId,
      name: part.name,
      type: part.type,
      recipientId: part.recipientId ?? null,
      parentId: part.parentId ?? null,
      creatorId: part.creatorId,
      overwrites: [],
      archived: false,
      lastMessageId: null,
    };
    this.channels.set(channel.id, channel);
    return channel;
  }
}
