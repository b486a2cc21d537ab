/**
 * Which messages are for us, and what they say. Pure: a message in, a verdict out.
 *
 * Works without the MESSAGE_CONTENT intent: Discord sends the content of direct messages and of
 * messages that mention us, replies with a ping included.
 */
import { type GatewayMessageCreateDispatchData, MessageType } from "discord.js";
import { normaliseText } from "#infra/turn/index.ts";

/** What Discord lets a subscriber write; others are held to 2,000. */
export const messageTextCharactersMax = 4_000;

export type Verdict =
  | { readonly kind: "ignore"; readonly reason: "bot" | "system" | "not-addressed" }
  | { readonly kind: "refuse"; readonly code: "MESSAGE_EMPTY" | "MESSAGE_TOO_LONG" }
  | { readonly kind: "ask"; readonly text: string };

export type IncomingMessage = Pick<
  GatewayMessageCreateDispatchData,
  "author" | "content" | "guild_id" | "mentions" | "type" | "webhook_id"
>;

export function judgeMessage(message: IncomingMessage, selfId: string): Verdict {
  const { author } = message;
  if (author.bot === true || message.webhook_id !== undefined || author.id === selfId) {
    return { kind: "ignore", reason: "bot" };
  }
  const spoken = message.type === MessageType.Default || message.type === MessageType.Reply;
  if (!spoken || author.system === true) return { kind: "ignore", reason: "system" };
  // A ping-reply to one of our messages lists us among the mentions; @everyone does not.
  const direct = message.guild_id === undefined;
  const mentioned = message.mentions.some((user) => user.id === selfId);
  if (!direct && !mentioned) return { kind: "ignore", reason: "not-addressed" };
  return judgeText(plainText(message, selfId));
}

/** For the text of a command too. */
export function judgeText(raw: string): Verdict {
  const text = normaliseText(raw);
  if (text === "") return { kind: "refuse", code: "MESSAGE_EMPTY" };
  if (Array.from(text).length > messageTextCharactersMax) {
    return { kind: "refuse", code: "MESSAGE_TOO_LONG" };
  }
  return { kind: "ask", text };
}

/** The words of a message: our own mention goes, other markup becomes what a reader sees. */
function plainText(message: IncomingMessage, selfId: string): string {
  const names = new Map(
    message.mentions.map((user) => [user.id, user.global_name ?? user.username] as const),
  );
  return message.content
    .replaceAll(new RegExp(`[ \\t]*<@!?${selfId}>[ \\t]*`, "g"), " ")
    .replaceAll(/<@!?(\d+)>/g, (mention, id: string) => {
      const name = names.get(id);
      return name === undefined ? mention : `@${name}`;
    })
    .replaceAll(/<a?(:\w+:)\d+>/g, "$1");
}
