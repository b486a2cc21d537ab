/**
 * Who a message pings. `resolveMentions` reads the text; `allowed_mentions` filters it; membership
 * and the author's rights decide the rest.
 *
 * Mentions inside code spans count too: the stricter reading, since the double serves tests that
 * want none at all.
 */
import { PermissionFlagsBits as P } from "discord-api-types/v10";
import { permissionsIn } from "./permissions.ts";
import type { Channel, User, World } from "./world.ts";

export interface AllowedMentions {
  readonly parse: readonly string[];
  readonly users: readonly string[];
  readonly roles: readonly string[];
  readonly repliedUser: boolean;
}

export interface Mentions {
  readonly users: readonly string[];
  readonly roles: readonly string[];
  readonly everyone: boolean;
}

/** Regular messages: every type is parsed when the key is absent. */
export const parseEverything: AllowedMentions = {
  parse: ["users", "roles", "everyone"],
  users: [],
  roles: [],
  repliedUser: true,
};

/** Interaction responses and webhooks: users only when the key is absent. */
export const parseUsers: AllowedMentions = { ...parseEverything, parse: ["users"] };

interface Spoken {
  readonly text: string;
  readonly author: User;
  /** Author of the message replied to. */
  readonly repliedTo: string | null;
}

const idsIn = (text: string, pattern: RegExp): string[] => [
  ...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? "")),
];

export function resolveMentions(
  world: World,
  channel: Channel,
  spoken: Spoken & { readonly allowed: AllowedMentions },
): Mentions {
  const { text, author, repliedTo, allowed } = spoken;
  const guild = channel.guildId === null ? null : world.guild(channel.guildId);
  const reaches = (id: string): boolean =>
    guild ? guild.members.has(id) : id === channel.recipientId || id === world.bot.id;
  const mayMentionAll = (permissionsIn(world, channel, author.id) & P.MentionEveryone) !== 0n;

  const users = idsIn(text, /<@!?(\d{17,19})>/g).filter(
    (id) => reaches(id) && (allowed.parse.includes("users") || allowed.users.includes(id)),
  );
  // Answering oneself pings nobody.
  const pingsReplied = repliedTo !== null && repliedTo !== author.id && allowed.repliedUser;
  if (pingsReplied && !users.includes(repliedTo)) users.push(repliedTo);
  const roles = idsIn(text, /<@&(\d{17,19})>/g).filter((id) => {
    const role = guild?.roles.find((candidate) => candidate.id === id);
    if (!role || !(role.mentionable || mayMentionAll)) return false;
    return allowed.parse.includes("roles") || allowed.roles.includes(id);
  });
  const everyone =
    /@(?:everyone|here)/.test(text) && mayMentionAll && allowed.parse.includes("everyone");
  return { users, roles, everyone };
}

export const mentionCount = (mentions: Mentions): number =>
  mentions.users.length + mentions.roles.length + (mentions.everyone ? 1 : 0);
