import { expect, test } from "vitest";
import { Slots, type Tenant } from "#apps/worker/turnloop/slots.ts";
import { aConversation } from "../../infra/turns.ts";

const tenant = (name: string): Tenant => ({
  conversation: aConversation(name),
  logHead: "0:1:2",
  snapshotHead: null,
});

test("a conversation finds its own state again", () => {
  const slots = new Slots(2);
  const first = slots.take(aConversation("a"));
  slots.leave(first.slot, tenant("a"));
  expect(slots.take(aConversation("a"))).toEqual({
    slot: first.slot,
    holds: tenant("a"),
    evicted: null,
    twin: null,
  });
});

test("the least recently used idle state makes room, a busy one never", () => {
  const slots = new Slots(2);
  const a = slots.take(aConversation("a"));
  const b = slots.take(aConversation("b"));
  slots.leave(b.slot, tenant("b"));
  const c = slots.take(aConversation("c"));
  expect(c).toEqual({ slot: b.slot, holds: null, evicted: tenant("b"), twin: null });
  slots.leave(a.slot, tenant("a"));
  slots.leave(c.slot, tenant("c"));
  expect(slots.take(aConversation("d")).evicted).toEqual(tenant("a"));
});

test("a slot whose state is undefined is nobody's", () => {
  const slots = new Slots(1);
  const room = slots.take(aConversation("a"));
  slots.leave(room.slot, null);
  expect(slots.idle()).toEqual([]);
  expect(slots.take(aConversation("a"))).toEqual({
    slot: 0,
    holds: null,
    evicted: null,
    twin: null,
  });
});

test("more turns than slots is a programmer's mistake", () => {
  const slots = new Slots(1);
  slots.take(aConversation("a"));
  expect(() => slots.take(aConversation("b"))).toThrow("more turns than slots");
});

test("a fork finds the state of its source, while it is idle and stands where both begin", () => {
  const slots = new Slots(3);
  const [source, logHead] = [aConversation("a"), "0:1:2"];
  const first = slots.take(source);
  expect(slots.take(aConversation("early"), { source, logHead }).twin).toBeNull();
  slots.leave(first.slot, tenant("a"));
  expect(slots.take(aConversation("other"), { source, logHead: "0:9:9" }).twin).toBeNull();
  const again = slots.take(aConversation("fork"), { source, logHead });
  // No other slot is left: the state is where it is needed, and is saved for its source first.
  expect(again).toEqual({ slot: first.slot, holds: null, evicted: tenant("a"), twin: first.slot });
});
