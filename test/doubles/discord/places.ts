/** Users, guilds and channels: what the double knows of each. Made and changed by `world.ts` only. */
import { ChannelType } from "discord-api-types/v10";

/** Rights given or taken in one channel. */
export interface Overwrite {
  readonly id: string;
  /** 0 a role, 1 a member. */
  readonly type: 0 | 1;
  readonly allow: bigint;
  readonly deny: bigint;
}

export interface User {
  readonly id: string;
  readonly name: string;
  /** Language of the user's client; sent with interactions only, as on Discord. */
  readonly locale: string;
  readonly bot: boolean;
}

export interface Role {
  readonly id: string;
  readonly name: string;
  readonly permissions: bigint;
  readonly mentionable: boolean;
}

export interface Member {
  readonly roleIds: readonly string[];
  /** Rights beyond those of the roles: shorthand for a role of one's own. */
  readonly permissions: bigint;
  readonly joinedAtMs: number;
}

export interface Guild {
  readonly id: string;
  readonly name: string;
  readonly preferredLocale: string;
  readonly ownerId: string;
  readonly roles: Role[];
  readonly members: Map<string, Member>;
  /** false: an outage, or the bot was removed. */
  available: boolean;
}

export interface Channel {
  readonly id: string;
  readonly guildId: string | null;
  readonly name: string;
  readonly type: ChannelType;
  /** The human of a direct message. */
  readonly recipientId: string | null;
  /** The channel a thread belongs to. */
  readonly parentId: string | null;
  readonly creatorId: string;
  overwrites: readonly Overwrite[];
  archived: boolean;
  lastMessageId: string | null;
}

const threadTypes: readonly ChannelType[] = [
  ChannelType.AnnouncementThread,
  ChannelType.PublicThread,
  ChannelType.PrivateThread,
];
export const isThread = (channel: Channel): boolean => threadTypes.includes(channel.type);
