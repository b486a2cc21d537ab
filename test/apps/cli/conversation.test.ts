/** `eyrie conversation …`, as people type it, on a running platform's Redis. */
import { userId } from "#infra/turn/index.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestPlatform } from "#test/platform/platform.ts";
import { everything } from "../../infra/conversation/workshop.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

let platform: TestPlatform;
const id = aConversation("desk");

beforeAll(async () => {
  platform = await TestPlatform.start();
  await platform.worker();
});

afterAll(async () => platform.stop());

function conversation(args: readonly string[], locale = "en-US"): Promise<Outcome> {
  const environment = { ...platform.environment, EYRIE_LOCALE: locale };
  return eyrie(["conversation", ...args], { environment });
}

async function talk(...ids: readonly number[]): Promise<void> {
  for (const number of ids) {
    const text = `Who are you, the ${number}th time?`;
    await platform.exchange(aTurn(number, { conversation: id, text }));
  }
}

async function json(...args: readonly string[]): Promise<Record<string, unknown>> {
  const outcome = await conversation([...args, "--json"]);
  expect(outcome.code, outcome.err).toBe(0);
  return JSON.parse(outcome.out) as Record<string, unknown>;
}

test("inspect, undo, export, reset and delete, one after the other", async () => {
  await talk(1, 2, 3, 4);
  const before = await json("inspect", id);
  expect(before).toMatchObject({
    conversation: id,
    model: "eaglet",
    waiting: 0,
    committedSeq: 4,
    turnsToUndo: 4,
    replies: 4,
  });
  expect((await conversation(["inspect", id])).out).toMatch(/^tokens +\d+$/m);

  const undone = await conversation(["undo", id, "--turns", "2"], "de");
  expect(undone.out).toBe("Zurückgenommen: 2 Wortwechsel. Es ist, als wären sie nie gewesen.\n");
  const after = await json("inspect", id);
  expect(after["turnsToUndo"]).toBe(2);
  expect(Number(after["tokens"])).toBeLessThan(Number(before["tokens"]));

  const exported = await json("export", id);
  const { log } = exported["truth"] as { log: { value: { tokens: number[]; text: string }[] } };
  expect(log.value).toHaveLength(2);
  expect(log.value[0]?.text).toMatch(
    /^User: Who are you, the 1th time\?\n\nAssistant:[\s\S]+\n\n$/,
  );

  expect(await json("reset", id)).toEqual({ conversation: id, tokens: after["tokens"] });
  expect((await conversation(["undo", id])).out).toBe("There is nothing to take back.\n");
  await talk(5);

  const deleted = await conversation(["delete", id]);
  expect(deleted.out).toBe(`Deleted: ${id}. Nothing of it is stored any more.\n`);
  // The last wake may be ending just now.
  const left = async (): Promise<string[]> => {
    const lines = [...(await everything(platform.truth)), ...(await everything(platform.state))];
    return lines.filter((line) => line.includes(id));
  };
  await expect.poll(left).toEqual([]);
}, 120_000);

describe("refuses by name", () => {
  test.each(["inspect", "undo", "reset", "export", "delete"])(
    "%s of what is not stored: CONVERSATION_UNKNOWN",
    async (verb) => {
      const outcome = await conversation([verb, "discord-404"]);
      expect(errorLines(outcome)).toEqual([
        expect.stringMatching(/^CONVERSATION_UNKNOWN: .*discord-404/),
      ]);
      expect(outcome.code).toBe(1);
      expect(await everything(platform.truth)).not.toContain("discord-404");
    },
  );

  test.each([
    ["what is no id", "desk"],
    ["more turns than are kept", "cli-desk", "--turns", "11"],
  ])("%s: USAGE", async (_, ...args) => {
    const outcome = await conversation(["undo", ...args]);
    expect(errorLines(outcome)).toEqual([expect.stringMatching(/^USAGE: /)]);
    expect(outcome.code).toBe(2);
  });
});

test("delete --user takes one person out of every conversation, and tells how", async () => {
  const user = userId("1357924680135792468");
  const [shared, own] = [aConversation("shared"), aConversation("own")];
  await platform.exchange(aTurn(31, { conversation: shared, text: "Hello!" }));
  await platform.exchange(aTurn(32, { conversation: shared, text: "Who are you?", author: user }));
  await platform.exchange(aTurn(33, { conversation: own, text: "What can you do?", author: user }));
  const refused = await conversation(["delete", "--user", "me"]);
  expect(errorLines(refused)).toEqual([expect.stringMatching(/^USAGE: /)]);
  const outcome = await conversation(["delete", shared, "--user", user]);
  expect(outcome.out).toContain("1 exchange taken back");
  const all = await json("delete", "--user", user, "--yes");
  expect(all).toEqual({
    user,
    conversations: [{ conversation: own, kind: "rolled-back", turns: 1 }],
  });
  const lines = [...(await everything(platform.truth)), ...(await everything(platform.state))];
  expect(lines.filter((line) => line.includes(user))).toEqual([]);
  expect((await json("inspect", shared))["turnsToUndo"]).toBe(1);
});
