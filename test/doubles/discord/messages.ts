/**
 * Every message ever said, with each of its versions: what a test reads to learn what people saw.
 *
 * A message's wire form is replaced, never changed in place, so replay buffers and histories may
 * hold on to it. Deleted messages stay readable here and are gone from the wire.
 */
import { GatewayIntentBits as Intent, MessageFlags, MessageType } from "discord-api-types/v10";
import { mentionCount, parseEverything, resolveMentions } from "./mentions.ts";
import type { AllowedMentions, Mentions } from "./mentions.ts";
import { iso, memberWire, userWire } from "./wire.ts";
import type { Channel, User, World } from "./world.ts";
import { isThread } from "./places.ts";

/** What an author hands in, already checked. */
export interface Draft {
  readonly content: string;
  readonly embeds?: readonly object[];
  readonly components?: readonly object[];
  readonly attachments?: readonly object[];
  readonly flags?: number;
  readonly allowedMentions?: AllowedMentions;
  readonly nonce?: string | number;
  readonly replyTo?: Message | null;
}

export interface PostOptions {
  readonly type?: MessageType;
  /** Only this user sees it; it is not on the channel's wire. */
  readonly ephemeralFor?: string;
  /** Set for answers to interactions. */
  readonly interaction?: { readonly id: string; readonly type: number; readonly user: User };
}

export interface MessageWire {
  readonly id: string;
  readonly channel_id: string;
  readonly content: string;
  readonly components: readonly object[];
  readonly embeds: readonly object[];
  readonly attachments: readonly object[];
  readonly flags: number;
  readonly mentions: readonly object[];
  readonly [field: string]: unknown;
}

export interface Version {
  readonly atMs: number;
  readonly content: string;
  readonly components: readonly object[];
  readonly flags: number;
  readonly pinged: Mentions;
}

export interface Message {
  readonly id: string;
  readonly channelId: string;
  readonly author: User;
  readonly replyTo: Message | null;
  readonly ephemeralFor: string | null;
  readonly fromInteraction: boolean;
  readonly createdAtMs: number;
  /** Oldest first; the last one is what people see now. */
  readonly history: Version[];
  /** The present version as Discord's JSON. */
  wire: MessageWire;
  deletedAtMs: number | null;
  threadId: string | null;
}

/** One pass over a bot message's mentions, with who was really reached. */
export interface Ping extends Mentions {
  readonly messageId: string;
  readonly channelId: string;
  readonly atMs: number;
  readonly on: "create" | "edit";
}

/** Text of a message wherever it stands: content and every V2 text display. */
export function messageText(content: string, components: readonly object[]): string {
  const parts = [content];
  const walk = (nodes: readonly object[]): void => {
    for (const node of nodes as readonly Record<string, unknown>[]) {
      if (typeof node["content"] === "string") parts.push(node["content"]);
      if (Array.isArray(node["components"])) walk(node["components"] as object[]);
    }
  };
  walk(components);
  return parts.join("\n");
}

export class Messages {
  readonly #world: World;
  readonly #byId = new Map<string, Message>();
  readonly #byChannel = new Map<string, Message[]>();
  readonly #byNonce = new Map<string, Message>();
  /** Pings by the bot, the counter that must stay empty. */
  readonly pings: Ping[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** In order of creation, deleted and ephemeral ones included. */
  in(channelId: string): readonly Message[] {
    return this.#byChannel.get(channelId) ?? [];
  }

  find(id: string): Message | undefined {
    return this.#byId.get(id);
  }

  /** What the channel's routes see: there, not deleted, not ephemeral. */
  visible(channelId: string, id: string): Message | undefined {
    const message = this.#byId.get(id);
    const seen = message?.channelId === channelId && message.deletedAtMs === null;
    return seen && message.ephemeralFor === null ? message : undefined;
  }

  /** The author's message with this nonce, if it is younger than `withinMs`. */
  withNonce(author: User, nonce: string | number, withinMs: number): Message | undefined {
    const message = this.#byNonce.get(`${author.id} ${nonce}`);
    const young = message && this.#world.clock.now() - message.createdAtMs <= withinMs;
    return young ? message : undefined;
  }

  post(channel: Channel, author: User, draft: Draft & PostOptions): Message {
    const world = this.#world;
    const components = numbered(draft.components ?? []);
    const pinged = resolveMentions(world, channel, {
      text: messageText(draft.content, components),
      author,
      repliedTo: draft.replyTo?.author.id ?? null,
      allowed: draft.allowedMentions ?? parseEverything,
    });
    const id = world.ids.next();
    const ephemeral = draft.ephemeralFor === undefined ? 0 : MessageFlags.Ephemeral;
    const wire = this.#wire(channel, author, {
      ...draft,
      id,
      components,
      pinged,
      flags: (draft.flags ?? 0) | ephemeral,
    });
    const message: Message = {
      id,
      channelId: channel.id,
      author,
      replyTo: draft.replyTo ?? null,
      ephemeralFor: draft.ephemeralFor ?? null,
      fromInteraction: draft.interaction !== undefined,
      createdAtMs: world.clock.now(),
      history: [],
      wire,
      deletedAtMs: null,
      threadId: null,
    };
    this.#keep(message, draft.nonce);
    this.#remember(message, "create", pinged);
    if (isThread(channel)) world.setArchived(channel, false);
    channel.lastMessageId = id;
    this.#report("MESSAGE_CREATE", message);
    return message;
  }

  /** Absent fields stay. Mentions are resolved anew, with the edit's own `allowedMentions`. */
  edit(message: Message, patch: Partial<Draft>): void {
    const world = this.#world;
    const channel = world.channel(message.channelId);
    const { wire } = message;
    const content = patch.content ?? wire.content;
    const components = patch.components ? numbered(patch.components) : wire.components;
    const pinged = resolveMentions(world, channel, {
      text: messageText(content, components),
      author: message.author,
      repliedTo: message.replyTo?.author.id ?? null,
      allowed: patch.allowedMentions ?? parseEverything,
    });
    message.wire = {
      ...wire,
      content,
      components,
      embeds: patch.embeds ?? wire.embeds,
      attachments: patch.attachments ?? wire.attachments,
      flags: patch.flags ?? wire.flags,
      edited_timestamp: iso(world.clock.now()),
      ...mentionFields(world, channel, pinged),
    };
    this.#remember(message, "edit", pinged);
    this.#report("MESSAGE_UPDATE", message);
  }

  /** Marks the message a thread was started from; not an edit. */
  setThread(message: Message, threadId: string): void {
    message.threadId = threadId;
    message.wire = { ...message.wire, flags: message.wire.flags | MessageFlags.HasThread };
    this.#report("MESSAGE_UPDATE", message);
  }

  delete(message: Message): void {
    if (message.deletedAtMs !== null) return;
    message.deletedAtMs = this.#world.clock.now();
    if (message.ephemeralFor !== null) return;
    const { guildId } = this.#world.channel(message.channelId);
    this.#world.publish({
      type: "MESSAGE_DELETE",
      data: {
        id: message.id,
        channel_id: message.channelId,
        ...(guildId === null ? {} : { guild_id: guildId }),
      },
      guildId,
      intent: guildId === null ? Intent.DirectMessages : Intent.GuildMessages,
    });
  }

  #keep(message: Message, nonce: string | number | undefined): void {
    this.#byId.set(message.id, message);
    const list = this.#byChannel.get(message.channelId);
    if (list) list.push(message);
    else this.#byChannel.set(message.channelId, [message]);
    if (nonce !== undefined) this.#byNonce.set(`${message.author.id} ${nonce}`, message);
  }

  #remember(message: Message, on: Ping["on"], pinged: Mentions): void {
    const { content, components, flags } = message.wire;
    const atMs = this.#world.clock.now();
    message.history.push({ atMs, content, components, flags, pinged });
    if (message.author.id === this.#world.bot.id && mentionCount(pinged) > 0) {
      const { id: messageId, channelId } = message;
      this.pings.push({ messageId, channelId, atMs, on, ...pinged });
    }
  }

  #report(type: string, message: Message): void {
    if (message.ephemeralFor !== null) return;
    const { guildId } = this.#world.channel(message.channelId);
    const guild = guildId === null ? null : this.#world.guild(guildId);
    const member = guild?.members.get(message.author.id);
    this.#world.publish({
      type,
      data: {
        ...message.wire,
        channel_type: this.#world.channel(message.channelId).type,
        ...(guildId === null ? {} : { guild_id: guildId }),
        ...(member ? { member: memberWire(member) } : {}),
      },
      guildId,
      intent: guildId === null ? Intent.DirectMessages : Intent.GuildMessages,
      message,
    });
  }

  #wire(
    channel: Channel,
    author: User,
    draft: Draft & PostOptions & { id: string; pinged: Mentions },
  ): MessageWire {
    const { replyTo, interaction } = draft;
    const type = draft.type ?? (replyTo ? MessageType.Reply : MessageType.Default);
    return {
      id: draft.id,
      channel_id: channel.id,
      type,
      author: userWire(author),
      content: draft.content,
      embeds: draft.embeds ?? [],
      components: draft.components ?? [],
      attachments: draft.attachments ?? [],
      flags: draft.flags ?? 0,
      timestamp: iso(this.#world.clock.now()),
      edited_timestamp: null,
      tts: false,
      pinned: false,
      ...mentionFields(this.#world, channel, draft.pinged),
      ...(draft.nonce === undefined ? {} : { nonce: draft.nonce }),
      ...(author.bot ? { application_id: this.#world.applicationId } : {}),
      ...(replyTo ? referenceFields(replyTo) : {}),
      ...(interaction ? interactionFields(this.#world, interaction) : {}),
    };
  }
}

function mentionFields(world: World, channel: Channel, pinged: Mentions) {
  const guild = channel.guildId === null ? null : world.guild(channel.guildId);
  const mentions = pinged.users.map((id) => {
    const member = guild?.members.get(id);
    return { ...userWire(world.user(id)), ...(member ? { member: memberWire(member) } : {}) };
  });
  return { mentions, mention_roles: pinged.roles, mention_everyone: pinged.everyone };
}

function referenceFields(target: Message) {
  const { referenced_message: _, ...referenced } = target.wire;
  return {
    message_reference: { type: 0, channel_id: target.channelId, message_id: target.id },
    referenced_message: target.deletedAtMs === null ? referenced : null,
  };
}

function interactionFields(world: World, interaction: NonNullable<PostOptions["interaction"]>) {
  return {
    webhook_id: world.applicationId,
    interaction_metadata: {
      id: interaction.id,
      type: interaction.type,
      user: userWire(interaction.user),
      authorizing_integration_owners: {},
    },
  };
}

/** Discord numbers components that came without an id. */
function numbered(components: readonly object[]): readonly object[] {
  let next = 1;
  const visit = (component: object): object => {
    const node = component as Record<string, unknown>;
    const id = typeof node["id"] === "number" && node["id"] > 0 ? node["id"] : next;
    next += 1;
    const inner = node["components"];
    return Array.isArray(inner)
      ? { ...node, id, components: (inner as object[]).map(visit) }
      : { ...node, id };
  };
  return components.map(visit);
}
