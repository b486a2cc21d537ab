import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Buttons, type Press } from "#apps/gateway/commands/buttons.ts";
import { attemptsMax, conversationId, turnId } from "#infra/turn/index.ts";

const buttons = new Buttons("token-a");
const press: Press = {
  action: "delete",
  conversation: conversationId("discord-12345678901234567890"),
  key: { turn: turnId("12345678901234567890"), attempt: attemptsMax - 1 },
};
const genuine = buttons.customId(press);

describe("a button's custom_id", () => {
  test("comes back as what it was made for, within Discord's 100 characters", () => {
    expect(buttons.parse(genuine)).toEqual(press);
    expect(genuine.length).toBeLessThanOrEqual(100);
  });

  test("is refused after any change of a character", () => {
    fc.assert(
      fc.property(
        fc.nat(genuine.length - 1),
        fc.string({ minLength: 1, maxLength: 1 }),
        (at, by) => {
          const forged = genuine.slice(0, at) + by + genuine.slice(at + 1);
          fc.pre(forged !== genuine);
          expect(buttons.parse(forged)).toBeNull();
        },
      ),
    );
  });

  test("is refused for another action, turn, attempt, conversation, token, any other text", () => {
    const mac = genuine.slice(genuine.lastIndexOf(":"));
    const { conversation, key } = press;
    const forgeries = [
      `v2:erase:${conversation}:${key.turn}:${key.attempt}${mac}`,
      `v2:delete:${conversation}:99:${key.attempt}${mac}`,
      `v2:delete:${conversation}:${key.turn}:0${mac}`,
      `v2:delete:discord-1:${key.turn}:${key.attempt}${mac}`,
      `v2:nothing:${conversation}:${key.turn}:${key.attempt}${mac}`,
    ];
    for (const forged of forgeries) expect(buttons.parse(forged)).toBeNull();
    expect(new Buttons("token-b").parse(genuine)).toBeNull();
    fc.assert(fc.property(fc.string(), (text) => buttons.parse(text) === null));
  });
});
