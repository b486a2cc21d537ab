/** What is kept of the turns that went into truth, and for how long. */
import { beforeEach, expect, test } from "vitest";
import { Tail } from "#apps/gateway/intake/tail.ts";
import { turnId, userId } from "#infra/turn/index.ts";
import { aConversation, aTurn } from "../infra/turns.ts";
import { VirtualClock } from "./virtual-clock.ts";

let clock: VirtualClock;
let tail: Tail;
const ids = (): string[] => tail.turns().map(({ id }) => id);

beforeEach(() => {
  clock = new VirtualClock();
  tail = new Tail(clock);
});

test("turns of the last minute, in their order", async () => {
  tail.note(aTurn(1));
  await clock.pass(40_000);
  tail.note(aTurn(2));
  expect(ids()).toEqual(["1", "2"]);
  await clock.pass(30_000);
  expect(ids()).toEqual(["2"]);
  expect([tail.has(turnId("1")), tail.has(turnId("2"))]).toEqual([false, true]);
});

test("what was taken back or deleted never returns", () => {
  const [here, there] = [aConversation("here"), aConversation("there")];
  tail.note(aTurn(1, { conversation: here }));
  tail.note(aTurn(2, { conversation: here, author: userId("8") }));
  tail.note(aTurn(3, { conversation: here }));
  tail.note(aTurn(4, { conversation: there }));
  tail.forget(turnId("1"));
  expect(ids()).toEqual(["2", "3", "4"]);
  tail.forgetAll(here, userId("8"));
  expect(ids()).toEqual(["3", "4"]);
  tail.forgetAll(here);
  expect(ids()).toEqual(["4"]);
});
