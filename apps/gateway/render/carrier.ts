/**
 * How one reply's parts get into Discord. Two carriers: messages that refer to the trigger, and the
 * deferred answer of a slash command, whose further parts are messages that refer to the answer.
 *
 * Promises: nothing we send mentions anybody, on create and on every edit; a repeated post of a part
 * within Discord's nonce window (minutes) returns the first message; later `find` recovers it,
 * because every part refers to the same message. Where the bot may not send, a command's further parts
 * go by the interaction's token, without a nonce.
 */
import {
  type APIActionRowComponent,
  type APIAllowedMentions,
  type APIButtonComponent,
  type APIMessage,
  MessageFlags,
  makeURLSearchParams,
  type RequestData,
  type REST,
  Routes,
} from "discord.js";
import type { ReplyAddress } from "#infra/discord/open-replies.ts";
import type { Origin, TurnKey } from "#infra/turn/index.ts";
import { classifyFailure } from "./failure.ts";

/** Absent, Discord parses everyone, roles and users; also again on every edit. */
export const mentionNobody: APIAllowedMentions = { parse: [], replied_user: false };

export interface MessageBody {
  readonly content: string;
  readonly components: readonly APIActionRowComponent<APIButtonComponent>[];
}

/** A notice is silent: by that it is told from a part of a reply, which may refer to the same message. */
export const noticeFlags = MessageFlags.SuppressEmbeds | MessageFlags.SuppressNotifications;

/** What Discord says it shows: of a repeated post, the first one's content. */
export interface Posted {
  readonly messageId: string;
  readonly content: string;
  readonly hasButtons: boolean;
}

export interface Carrier {
  readonly channelId: string;
  /** Puts part `index` into Discord; `firstId` is the message id of part 0 once there is one. */
  post(index: number, firstId: string | null, body: MessageBody): Promise<Posted>;
  edit(index: number, messageId: string, body: MessageBody): Promise<void>;
  remove(messageId: string): Promise<void>;
  /** Message ids of the parts that stand in Discord already, in order. */
  find(firstId: string | null): Promise<string[]>;
}

export interface CarrierOptions {
  readonly rest: REST;
  readonly selfId: string;
  /** False when an interaction's token is about to run out: its answer becomes a plain message. */
  readonly tokenLives: () => boolean;
  /** Cuts requests off, those queued behind a rate limit too. */
  readonly signal: AbortSignal;
}

export function carrierFor(reply: ReplyAddress, options: CarrierOptions): Carrier | null {
  const { origin } = reply;
  switch (origin.kind) {
    case "discord-message":
      return new MessageCarrier(reply, origin, options);
    case "discord-interaction":
      return new InteractionCarrier(reply, origin, options);
    case "cli":
      return null;
  }
}

class MessageCarrier implements Carrier {
  readonly channelId: string;
  readonly #key: TurnKey;
  readonly #triggerId: string;
  readonly #options: CarrierOptions;

  constructor(
    reply: ReplyAddress,
    origin: Origin & { kind: "discord-message" },
    options: CarrierOptions,
  ) {
    this.channelId = origin.channelId;
    this.#key = reply.key;
    this.#triggerId = origin.messageId;
    this.#options = options;
  }

  async post(index: number, _firstId: string | null, body: MessageBody): Promise<Posted> {
    const message = { key: this.#key, index, refersTo: this.#triggerId, body };
    return postMessage(this.#options, this.channelId, message);
  }

  async edit(_index: number, messageId: string, body: MessageBody): Promise<void> {
    await editMessage(this.#options, this.channelId, { messageId, body });
  }

  async remove(messageId: string): Promise<void> {
    const { rest, signal } = this.#options;
    await rest.delete(Routes.channelMessage(this.channelId, messageId), { signal });
  }

  async find(): Promise<string[]> {
    const { selfId } = this.#options;
    const messages = await messagesAfter(this.#options, this.channelId, this.#key.turn);
    return messages
      .filter((message) => isOurReply(message, selfId, this.#triggerId))
      .map((message) => message.id);
  }
}

class InteractionCarrier implements Carrier {
  readonly channelId: string;
  readonly #key: TurnKey;
  readonly #origin: Origin & { kind: "discord-interaction" };
  readonly #options: CarrierOptions;
  #expired = false;
  /** Parts that the bot was not allowed to send as itself. */
  readonly #followUps = new Set<string>();

  constructor(
    reply: ReplyAddress,
    origin: Origin & { kind: "discord-interaction" },
    options: CarrierOptions,
  ) {
    this.channelId = origin.channelId;
    this.#key = reply.key;
    this.#origin = origin;
    this.#options = options;
  }

  async post(index: number, firstId: string | null, body: MessageBody): Promise<Posted> {
    if (index === 0) {
      const answer = await this.#editByToken("@original", body);
      if (answer !== null) return answer;
    }
    const message = { key: this.#key, index, refersTo: firstId, body };
    try {
      return await postMessage(this.#options, this.channelId, message);
    } catch (error) {
      const followUp = classifyFailure(error) === "gone" ? await this.#followUp(body) : null;
      if (followUp === null) throw error;
      this.#followUps.add(followUp.messageId);
      return followUp;
    }
  }

  async edit(index: number, messageId: string, body: MessageBody): Promise<void> {
    const name = index === 0 ? "@original" : messageId;
    const byToken = index === 0 || this.#followUps.has(messageId);
    if (byToken && (await this.#editByToken(name, body)) !== null) return;
    // The answer is a message of ours like any other, for as long as we may see the channel.
    await editMessage(this.#options, this.channelId, { messageId, body });
  }

  async remove(messageId: string): Promise<void> {
    const { rest, signal } = this.#options;
    await rest.delete(Routes.channelMessage(this.channelId, messageId), { signal });
  }

  async find(firstId: string | null): Promise<string[]> {
    const { selfId } = this.#options;
    const messages = await messagesAfter(this.#options, this.channelId, this.#key.turn);
    const answer = messages.find((message) => message.interaction_metadata?.id === this.#key.turn);
    const answerId = firstId ?? answer?.id;
    if (answerId === undefined) return [];
    const others = messages.filter((message) => isOurReply(message, selfId, answerId));
    return [answerId, ...others.map((message) => message.id)];
  }

  async #editByToken(name: string, body: MessageBody): Promise<Posted | null> {
    const { applicationId, interactionToken } = this.#origin;
    const route = Routes.webhookMessage(applicationId, interactionToken, name);
    return this.#byToken(body, async (request) => this.#options.rest.patch(route, request));
  }

  async #followUp(body: MessageBody): Promise<Posted | null> {
    const { applicationId, interactionToken } = this.#origin;
    const route = Routes.webhook(applicationId, interactionToken);
    const quiet = { ...body, flags: MessageFlags.SuppressEmbeds };
    return this.#byToken(quiet, async (request) => this.#options.rest.post(route, request));
  }

  /** Null when the interaction's token has run out. */
  async #byToken(
    body: MessageBody,
    send: (request: RequestData) => Promise<unknown>,
  ): Promise<Posted | null> {
    const { signal, tokenLives } = this.#options;
    if (this.#expired || !tokenLives()) return null;
    try {
      const message = await send({
        signal,
        body: { ...body, allowed_mentions: mentionNobody },
        // With our token in the header, a 401 here would make the library drop that token.
        auth: false,
      });
      return posted(message);
    } catch (error) {
      if (classifyFailure(error) !== "expired") throw error;
      this.#expired = true;
      return null;
    }
  }
}

interface OutgoingPart {
  readonly key: TurnKey;
  readonly index: number;
  readonly refersTo: string | null;
  readonly body: MessageBody;
}

type Way = Pick<CarrierOptions, "rest" | "signal">;

async function postMessage(way: Way, channelId: string, part: OutgoingPart): Promise<Posted> {
  const reference =
    part.refersTo === null
      ? {}
      : { message_reference: { message_id: part.refersTo, fail_if_not_exists: false } };
  const message = await way.rest.post(Routes.channelMessages(channelId), {
    signal: way.signal,
    body: {
      ...part.body,
      ...reference,
      allowed_mentions: mentionNobody,
      flags: MessageFlags.SuppressEmbeds,
      // Of every attempt its own: else a repeated post would return the one before.
      nonce: `${part.key.turn}.${part.key.attempt}-${part.index}`,
      enforce_nonce: true,
    },
  });
  return posted(message);
}

function posted(answer: unknown): Posted {
  const message = answer as APIMessage;
  return {
    messageId: message.id,
    content: message.content,
    hasButtons: (message.components ?? []).length > 0,
  };
}

async function editMessage(
  way: Way,
  channelId: string,
  edit: { readonly messageId: string; readonly body: MessageBody },
): Promise<void> {
  await way.rest.patch(Routes.channelMessage(channelId, edit.messageId), {
    signal: way.signal,
    body: { ...edit.body, allowed_mentions: mentionNobody },
  });
}

/** Up to 100 messages right after `afterId`, oldest first. */
async function messagesAfter(way: Way, channelId: string, afterId: string): Promise<APIMessage[]> {
  const query = makeURLSearchParams({ after: afterId, limit: 100 });
  const { rest, signal } = way;
  const messages = await rest.get(Routes.channelMessages(channelId), { query, signal });
  return (messages as APIMessage[]).sort((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1));
}

function isOurReply(message: APIMessage, selfId: string, toId: string): boolean {
  const isNotice = ((message.flags ?? 0) & MessageFlags.SuppressNotifications) !== 0;
  const refers = message.message_reference?.message_id === toId;
  return message.author.id === selfId && refers && !isNotice;
}

/** Takes the buttons from one of our messages, and leaves its text. */
export async function stripButtons(
  way: Way,
  message: { readonly channelId: string; readonly messageId: string },
): Promise<void> {
  await way.rest.patch(Routes.channelMessage(message.channelId, message.messageId), {
    signal: way.signal,
    body: { components: [], allowed_mentions: mentionNobody },
  });
}
