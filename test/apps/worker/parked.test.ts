import { expect, test } from "vitest";
import { Parked, type ParkedState } from "#apps/worker/turnloop/parked.ts";
import { aConversation } from "../../infra/turns.ts";

function state(name: string, bytes: number, logHead = "0:1:2"): ParkedState {
  const tenant = { conversation: aConversation(name), logHead, snapshotHead: null };
  return { tenant, packed: new Uint8Array(bytes) };
}

const names = (states: readonly ParkedState[]): string[] =>
  states.map(({ tenant }) => tenant.conversation.replace("cli-", ""));

test("what has no room goes, those longest unused first", () => {
  const parked = new Parked(100);
  expect(parked.put(state("a", 40))).toEqual([]);
  expect(parked.put(state("b", 40))).toEqual([]);
  expect(parked.put(parked.take(aConversation("a"))!)).toEqual([]);
  expect(names(parked.put(state("c", 40)))).toEqual(["b"]);
  expect(names(parked.put(state("d", 90)))).toEqual(["a", "c"]);
  expect(parked.bytes).toBe(90);
  expect(names(parked.all())).toEqual(["d"]);
});

test("without room nothing stays, and what is too large goes by itself", () => {
  expect(names(new Parked(0).put(state("a", 1)))).toEqual(["a"]);
  const parked = new Parked(10);
  parked.put(state("a", 5));
  expect(names(parked.put(state("b", 11)))).toEqual(["a", "b"]);
  expect(parked.bytes).toBe(0);
});

test("a conversation has one state here, and none once it was taken", () => {
  const parked = new Parked(100);
  parked.put(state("a", 30, "0:1:2"));
  parked.put(state("a", 20, "0:5:6"));
  expect(parked.bytes).toBe(20);
  expect(parked.at(aConversation("a"), "0:1:2")).toBeNull();
  expect(parked.at(aConversation("a"), "0:5:6")?.packed).toHaveLength(20);
  expect(parked.take(aConversation("a"))?.tenant.logHead).toBe("0:5:6");
  expect(parked.take(aConversation("a"))).toBeNull();
  expect(parked.bytes).toBe(0);
});
