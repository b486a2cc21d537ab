/**
 * Discord's events, one by one: what becomes a turn, what ends one, what is passed over.
 *
 * An event counts as handled when `handle` has resolved; only then may the stored gateway sequence
 * pass it. Notices to people are sent on the side: no event waits for them.
 */
import {
  GatewayDispatchEvents,
  type GatewayDispatchPayload,
  type GatewayGuildCreateDispatchData,
  type GatewayMessageCreateDispatchData,
  type REST,
  Routes,
} from "discord.js";
import type { Conversations } from "#infra/conversation/conversations.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import { type CommunityId, communityId, type ConversationId, turnId } from "#infra/turn/index.ts";
import type { Interactions } from "../commands/interactions.ts";
import { mentionNobody, noticeFlags } from "../render/carrier.ts";
import { failureCode } from "../render/failure.ts";
import { missedMessages } from "./backfill.ts";
import type { Locales } from "./locales.ts";
import { judgeMessage } from "./message.ts";
import type { NoticeLimit } from "./notice-limit.ts";
import { conversationOf, submit, type SubmitParts } from "./submit.ts";

export interface IntakeParts extends SubmitParts {
  readonly rest: REST;
  readonly selfId: string;
  readonly translator: Translator;
  readonly locales: Locales;
  readonly notices: NoticeLimit;
  readonly interactions: Interactions;
  readonly conversations: Conversations;
}

export class Intake {
  readonly #parts: IntakeParts;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when the event needs no replay. `missedSince`: messages newer than this one may never
   * have been told; null when all were.
   */
  async handle(event: GatewayDispatchPayload, missedSince: string | null = null): Promise<void> {
    const { interactions, locales } = this.#parts;
    switch (event.t) {
      case GatewayDispatchEvents.MessageCreate:
        return this.#message(event.d);
      case GatewayDispatchEvents.InteractionCreate:
        return interactions.handle(event.d);
      case GatewayDispatchEvents.MessageDelete:
        return this.#takeBack(event.d.channel_id, [event.d.id]);
      case GatewayDispatchEvents.MessageDeleteBulk:
        return this.#takeBack(event.d.channel_id, event.d.ids);
      case GatewayDispatchEvents.GuildCreate:
        locales.learnCommunity(event.d);
        if (missedSince !== null) await this.#catchUp(event.d, missedSince);
        return;
      case GatewayDispatchEvents.GuildDelete:
        // Unavailable: an outage, it comes back.
        if (event.d.unavailable !== true) await this.#leave(communityId(event.d.id));
        return;
      case GatewayDispatchEvents.ChannelDelete:
      case GatewayDispatchEvents.ThreadDelete:
        return this.#delete(conversationOf(event.d.id));
      default:
        return;
    }
  }

  async #message(message: GatewayMessageCreateDispatchData): Promise<void> {
    const { locales, metrics, selfId } = this.#parts;
    const verdict = judgeMessage(message, selfId);
    if (verdict.kind === "ignore") return;
    const locale = locales.ofMessage(message.author.id, message.guild_id);
    if (verdict.kind === "refuse") {
      metrics.refused.inc({ code: verdict.code });
      void this.#notify(message, verdict.code, locale);
      return;
    }
    const { channel_id: channelId, id } = message;
    const submitted = await submit(
      {
        id,
        channelId,
        communityId: message.guild_id,
        authorId: message.author.id,
        text: verdict.text,
        locale,
        origin: { kind: "discord-message", channelId, messageId: id },
      },
      this.#parts,
    );
    if (submitted.kind === "refused") void this.#notify(message, submitted.code, locale);
  }

  /** Messages are deleted. In their lane, so that one on its way into its mailbox is there by then. */
  async #takeBack(channelId: string, messageIds: readonly string[]): Promise<void> {
    const { lanes, renders } = this.#parts;
    await lanes.run(conversationOf(channelId), async () => {
      for (const id of messageIds) renders.giveUp(turnId(id));
    });
  }

  async #catchUp(community: GatewayGuildCreateDispatchData, since: string): Promise<void> {
    const { log } = this.#parts;
    let messages = 0;
    for await (const message of missedMessages(community, since, this.#parts)) {
      await this.#message(message);
      messages++;
    }
    if (messages > 0) log.info("missed messages looked up", { community: community.id, messages });
  }

  /** We are no longer in a community: nothing of it is kept. */
  async #leave(community: CommunityId): Promise<void> {
    for await (const conversation of this.#parts.conversations.ofCommunity(community)) {
      await this.#delete(conversation);
    }
  }

  async #delete(conversation: ConversationId): Promise<void> {
    const { conversations, log, renders } = this.#parts;
    await renders.forget(conversation);
    const keys = await conversations.delete(conversation);
    if (keys > 0) log.info("conversation deleted with its place", { keys });
  }

  /** A short public answer: only interactions have private ones. */
  async #notify(
    message: GatewayMessageCreateDispatchData,
    code: ErrorCode,
    locale: string,
  ): Promise<void> {
    const { log, notices, rest, translator } = this.#parts;
    if (!notices.admit(message.author.id)) return;
    try {
      await rest.post(Routes.channelMessages(message.channel_id), {
        body: {
          content: translator.error(locale, new EyrieError(code)),
          message_reference: { message_id: message.id, fail_if_not_exists: false },
          allowed_mentions: mentionNobody,
          flags: noticeFlags,
          nonce: `${message.id}-n`,
          enforce_nonce: true,
        },
      });
    } catch (error) {
      log.warn("notice not sent", { notice: code, code: failureCode(error) });
    }
  }
}
