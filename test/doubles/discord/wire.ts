/**
 * The world in Discord's JSON. Every field a client library reads without asking is present;
 * fields that no text bot reads (boosts, voice regions, icons) have their empty value.
 */
import { permissionsIn } from "./permissions.ts";
import type { Channel, Guild, Member, User, World } from "./world.ts";
import { isThread } from "./places.ts";

export const iso = (ms: number): string => new Date(ms).toISOString().replace("Z", "000+00:00");

export function userWire(user: User) {
  return {
    id: user.id,
    username: user.name.toLowerCase().replace(/[^a-z0-9_.]+/g, "_"),
    discriminator: user.bot ? "0001" : "0",
    global_name: user.bot ? null : user.name,
    avatar: null,
    bot: user.bot,
    public_flags: 0,
  };
}

export function memberWire(member: Member) {
  return {
    roles: [...member.roleIds],
    joined_at: iso(member.joinedAtMs),
    nick: null,
    avatar: null,
    banner: null,
    premium_since: null,
    deaf: false,
    mute: false,
    flags: 0,
    pending: false,
    communication_disabled_until: null,
  };
}

export function channelWire(world: World, channel: Channel) {
  const base = { id: channel.id, type: channel.type, last_message_id: channel.lastMessageId };
  if (channel.guildId === null) {
    const recipients = channel.recipientId ? [userWire(world.user(channel.recipientId))] : [];
    return { ...base, recipients };
  }
  const placed = {
    ...base,
    guild_id: channel.guildId,
    name: channel.name,
    parent_id: channel.parentId,
    flags: 0,
    rate_limit_per_user: 0,
  };
  if (!isThread(channel)) {
    const overwrites = channel.overwrites.map(({ id, type, allow, deny }) => ({
      id,
      type,
      allow: allow.toString(),
      deny: deny.toString(),
    }));
    return {
      ...placed,
      position: 0,
      topic: null,
      nsfw: false,
      permission_overwrites: overwrites,
    };
  }
  return {
    ...placed,
    owner_id: channel.creatorId,
    message_count: 0,
    member_count: 1,
    total_message_sent: 0,
    thread_metadata: {
      archived: channel.archived,
      auto_archive_duration: 1440,
      archive_timestamp: iso(world.clock.now()),
      locked: false,
      invitable: true,
    },
  };
}

/** A channel as interactions carry it, with the invoking user's rights. */
export function interactionChannelWire(world: World, channel: Channel, user: User) {
  return {
    ...channelWire(world, channel),
    permissions: permissionsIn(world, channel, user.id).toString(),
  };
}

export function roleWire(role: Guild["roles"][number]) {
  return {
    id: role.id,
    name: role.name,
    permissions: role.permissions.toString(),
    mentionable: role.mentionable,
    color: 0,
    colors: { primary_color: 0, secondary_color: null, tertiary_color: null },
    hoist: false,
    managed: false,
    position: 0,
    flags: 0,
  };
}

/** A guild as `GET /guilds/:id` answers. */
export function guildSummaryWire(guild: Guild) {
  return {
    id: guild.id,
    name: guild.name,
    owner_id: guild.ownerId,
    roles: guild.roles.map(roleWire),
    emojis: [],
    stickers: [],
    preferred_locale: guild.preferredLocale,
    features: [],
    icon: null,
    splash: null,
    banner: null,
    description: null,
    afk_channel_id: null,
    afk_timeout: 300,
    system_channel_id: null,
    system_channel_flags: 0,
    rules_channel_id: null,
    public_updates_channel_id: null,
    verification_level: 0,
    default_message_notifications: 0,
    explicit_content_filter: 0,
    mfa_level: 0,
    nsfw_level: 0,
    premium_tier: 0,
    premium_subscription_count: 0,
    vanity_url_code: null,
    application_id: null,
  };
}

/** A guild as GUILD_CREATE carries it; of its members the bot alone, as without GUILD_MEMBERS. */
export function guildWire(world: World, guild: Guild) {
  const bot = guild.members.get(world.bot.id);
  const channels = world.channelsOf(guild.id);
  return {
    ...guildSummaryWire(guild),
    joined_at: iso(bot?.joinedAtMs ?? world.clock.now()),
    large: false,
    unavailable: false,
    member_count: guild.members.size,
    members: bot ? [{ ...memberWire(bot), user: userWire(world.bot) }] : [],
    channels: channels.filter((c) => !isThread(c)).map((c) => channelWire(world, c)),
    threads: channels.filter((c) => isThread(c) && !c.archived).map((c) => channelWire(world, c)),
    presences: [],
    voice_states: [],
    stage_instances: [],
    guild_scheduled_events: [],
    soundboard_sounds: [],
  };
}
