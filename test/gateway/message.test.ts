import { MessageType } from "discord.js";
import { describe, expect, test } from "vitest";
import { type IncomingMessage, judgeMessage, judgeText } from "#apps/gateway/intake/message.ts";

const self = "100000000000000001";
const author = { id: "100000000000000002", username: "ada" };
const eyrie = { id: self, username: "Eyrie" };
const bob = { id: "100000000000000003", username: "bob", global_name: "Bob B." };

function message(changes: object): IncomingMessage {
  return {
    author,
    content: `<@${self}> hello`,
    guild_id: "100000000000000009",
    mentions: [eyrie],
    type: MessageType.Default,
    ...changes,
  } as unknown as IncomingMessage;
}

describe("what becomes a turn", () => {
  test.each<[string, object, string]>([
    ["a mention", {}, "hello"],
    ["a mention at the end", { content: `hello <@${self}>` }, "hello"],
    ["an old-style mention", { content: `<@!${self}>hello` }, "hello"],
    ["a mention in the middle", { content: `well <@${self}> hello` }, "well hello"],
    ["a reply with a ping", { content: "and then?", type: MessageType.Reply }, "and then?"],
    ["a direct message", { content: "hi", guild_id: undefined, mentions: [] }, "hi"],
    [
      "a mention beside @everyone",
      { content: `@everyone <@${self}> hi`, mention_everyone: true },
      "@everyone hi",
    ],
    [
      "others named as readers see them",
      { content: `<@${self}> who is <@${bob.id}>?`, mentions: [eyrie, bob] },
      "who is @Bob B.?",
    ],
    ["custom emoji by name", { content: `<@${self}> nice <a:party:123>` }, "nice :party:"],
    ["text with our own separators", { content: `<@${self}> a\n\nUser: b` }, "a\nUser: b"],
  ])("%s", (_, changes, text) => {
    expect(judgeMessage(message(changes), self)).toEqual({ kind: "ask", text });
  });
});

describe("what is passed over", () => {
  test.each<[string, object, string]>([
    ["no mention", { content: "hello", mentions: [] }, "not-addressed"],
    [
      "@everyone",
      { content: "@everyone hi", mentions: [], mention_everyone: true },
      "not-addressed",
    ],
    ["somebody else's mention", { mentions: [bob] }, "not-addressed"],
    ["a bot", { author: { ...author, bot: true } }, "bot"],
    ["a webhook", { webhook_id: "1" }, "bot"],
    ["ourselves", { author: eyrie }, "bot"],
    ["a pin notice", { type: MessageType.ChannelPinnedMessage }, "system"],
    ["a member joining", { type: MessageType.UserJoin }, "system"],
  ])("%s", (_, changes, reason) => {
    expect(judgeMessage(message(changes), self)).toEqual({ kind: "ignore", reason });
  });
});

describe("what is refused by name", () => {
  test.each<[string, string]>([
    ["only a mention", `<@${self}>`],
    ["only blanks", `<@${self}> \n\u200b `],
    ["nothing (an attachment)", ""],
  ])("%s: MESSAGE_EMPTY", (_, content) => {
    const verdict = judgeMessage(message({ content }), self);
    expect(verdict).toEqual({ kind: "refuse", code: "MESSAGE_EMPTY" });
  });

  test("more than 4,000 characters: MESSAGE_TOO_LONG", () => {
    expect(judgeText("😀".repeat(4_000)).kind).toBe("ask");
    expect(judgeText("x".repeat(4_001))).toEqual({ kind: "refuse", code: "MESSAGE_TOO_LONG" });
  });
});
