/** What a member may do in a channel: roles, then the overwrites of everyone, roles and member. */
import { PermissionFlagsBits as P } from "discord-api-types/v10";
import type { Channel, World } from "./world.ts";

/** What Discord gives @everyone on a new server, as far as a text bot meets it. */
export const everyoneDefault =
  P.ViewChannel |
  P.SendMessages |
  P.SendMessagesInThreads |
  P.CreatePublicThreads |
  P.CreatePrivateThreads |
  P.EmbedLinks |
  P.AttachFiles |
  P.AddReactions |
  P.ReadMessageHistory |
  P.MentionEveryone |
  P.UseApplicationCommands;

export const allPermissions = Object.values(P).reduce((sum, bit) => sum | bit, 0n);

export function guildPermissions(world: World, guildId: string, userId: string): bigint {
  const guild = world.guild(guildId);
  const member = guild.members.get(userId);
  if (!member) return 0n;
  if (guild.ownerId === userId) return allPermissions;
  let bits = member.permissions;
  for (const role of guild.roles) {
    if (role.id === guildId || member.roleIds.includes(role.id)) bits |= role.permissions;
  }
  return (bits & P.Administrator) === 0n ? bits : allPermissions;
}

/** Threads take their parent's overwrites; in a direct message everything text needs is allowed. */
export function permissionsIn(world: World, channel: Channel, userId: string): bigint {
  if (channel.guildId === null) return everyoneDefault & ~P.MentionEveryone;
  let bits = guildPermissions(world, channel.guildId, userId);
  if (bits === allPermissions) return bits;
  const place = channel.parentId === null ? channel : world.channel(channel.parentId);
  const roleIds = world.guild(channel.guildId).members.get(userId)?.roleIds ?? [];
  const applying = [
    place.overwrites.filter((o) => o.type === 0 && o.id === channel.guildId),
    place.overwrites.filter((o) => o.type === 0 && roleIds.includes(o.id)),
    place.overwrites.filter((o) => o.type === 1 && o.id === userId),
  ];
  for (const rung of applying) {
    for (const { deny } of rung) bits &= ~deny;
    for (const { allow } of rung) bits |= allow;
  }
  return bits;
}
