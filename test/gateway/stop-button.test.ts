import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StopButtons } from "#apps/gateway/commands/stop-button.ts";
import { conversationId, turnId } from "#infra/turn/index.ts";

const buttons = new StopButtons("token-a");
const target = {
  conversation: conversationId("discord-12345678901234567890"),
  turn: turnId("12345678901234567890"),
};
const genuine = buttons.customId(target);

describe("a Stop button's custom_id", () => {
  test("comes back as what it was made for, within Discord's 100 characters", () => {
    expect(buttons.parse(genuine)).toEqual(target);
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

  test("is refused for another turn, another conversation, another token, any other text", () => {
    const mac = genuine.slice(genuine.lastIndexOf(":"));
    expect(buttons.parse(`v1:stop:${target.conversation}:99${mac}`)).toBeNull();
    expect(buttons.parse(`v1:stop:discord-1:${target.turn}${mac}`)).toBeNull();
    expect(new StopButtons("token-b").parse(genuine)).toBeNull();
    fc.assert(fc.property(fc.string(), (text) => buttons.parse(text) === null));
  });
});
