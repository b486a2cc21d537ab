/** A whole life of conversations on a real cluster of three: no call may touch two slots. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { backUp } from "#infra/conversation/backup.ts";
import { restore } from "#infra/conversation/restore.ts";
import { keyUse, rotate } from "#infra/conversation/rotation.ts";
import { scanKeys, serversOf } from "#infra/redis/address.ts";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import { bucketOf } from "#infra/redis/keys.ts";
import { Records } from "#infra/redis/records.ts";
import { findUnsafe } from "#infra/redis/safety.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { ask, talk } from "#test/platform/dialogue.ts";
import { type Process, TestPlatform } from "#test/platform/platform.ts";
import { ClusterFleet } from "#test/redis/fleet.ts";
import { aConversation } from "../turns.ts";

const keys = newKey();
const records = new Records(KeyRing.parse(keys));
let platform: TestPlatform<ClusterFleet>;
let worker: Process;

beforeAll(async () => {
  const cluster = await ClusterFleet.start();
  platform = await TestPlatform.on({ truth: cluster, state: cluster }, keys);
  worker = await platform.worker({ EYRIE_PROFILE: "production", EYRIE_LOG_LEVEL: "info" });
}, 120_000);

afterAll(async () => {
  await platform.stop();
  rmSync(directory, { recursive: true });
  expect(platform.output).not.toContain("CROSSSLOT");
}, 60_000);

const directory = mkdtempSync(join(tmpdir(), "eyrie-cluster-"));

const say = (id: ConversationId, ids: readonly number[]): Promise<string[]> =>
  talk(platform, id, { ids });

/** Keys and members of both roles that name the conversation. */
async function stored(id: ConversationId): Promise<string[]> {
  return (await scanKeys(platform.truth, "*")).filter((key) => key.includes(id));
}

test("every node is looked at before it is used", async () => {
  expect(serversOf(platform.truth)).toHaveLength(3);
  const [node] = serversOf(platform.truth);
  await node?.config("SET", "appendfsync", "everysec");
  expect(await findUnsafe(platform.truth, "truth")).toHaveLength(1);
  await node?.config("SET", "appendfsync", "always");
  expect(await findUnsafe(platform.truth, "truth")).toEqual([]);
});

test("turns, undo, regenerate, fork, reset, export and delete", async () => {
  const [trunk, twin] = [aConversation("trunk"), aConversation("twin")];
  await say(trunk, [1, 2, 3]);
  await say(twin, [1, 2]);
  expect((await platform.conversations.undo(trunk, 1))?.turns).toHaveLength(1);
  expect(await say(trunk, [4])).toEqual(await say(twin, [4]));

  const again = await platform.conversations.regenerate(trunk, {
    turn: ask(trunk, 4).id,
    attempt: 0,
  });
  if (again.kind !== "waiting") throw new Error(again.kind);
  await platform.bell.ring({ conversation: trunk, headTurnId: "", model: "eaglet", traceId: "t" });
  expect((await platform.reply(again.turn)).attempt).toBe(1);

  // The worker ends, so that there are snapshots to be copied to other slots.
  await worker.end();
  worker = await platform.worker();
  const forks = [1, 2, 3, 4, 5].map((index) => aConversation(`fork-${index}`));
  expect(new Set([trunk, ...forks].map(bucketOf)).size).toBeGreaterThan(1);
  for (const fork of forks) {
    expect(await platform.conversations.fork(trunk, fork, `op-${fork}`)).toEqual({
      kind: "forked",
    });
    expect(await platform.conversations.fork(trunk, fork, `op-${fork}`)).toEqual({
      kind: "forked",
    });
    expect((await stored(fork)).some((key) => key.includes(":snapshot:"))).toBe(true);
  }
  const next = await say(trunk, [6]);
  for (const fork of forks) expect(await say(fork, [6])).toEqual(next);

  expect(Object.keys((await platform.conversations.export(trunk)).truth)).toContain("log");
  expect(await platform.conversations.reset(trunk)).toBeGreaterThan(0);
  expect((await platform.exchange(ask(trunk, 7))).seq).toBeGreaterThan(4);
  for (const conversation of [trunk, twin, ...forks]) {
    expect(await platform.conversations.delete(conversation)).toBeGreaterThan(0);
    await expect.poll(async () => stored(conversation)).toEqual([]);
  }
}, 240_000);

test("backup, rotation of keys and who spoke where see every node", async () => {
  const ids = [1, 2, 3, 4, 5, 6].map((index) => aConversation(`kept-${index}`));
  for (const id of ids) await say(id, [1]);
  const stores = { truth: platform.truth, state: platform.state, records };
  const heads = async () => Promise.all(ids.map(async (id) => platform.ledger.logHead(id)));
  const before = await heads();
  const found = [];
  const { author } = ask(aConversation("kept"), 1);
  for await (const id of platform.conversations.ofUser(author)) found.push(id);
  expect(found.sort()).toEqual(ids);
  const { byKey, damaged, plain } = await keyUse(stores);
  expect([[...byKey.keys()], damaged, plain]).toEqual([records.ring?.ids, 0, 0]);
  // Each has a block, a past turn, who spoke, a last turn and a reply.
  expect(byKey.get(records.ring?.primary ?? "")).toBeGreaterThanOrEqual(5 * ids.length);
  const rotating = { ...stores, records: new Records(KeyRing.parse(`${newKey()},${keys}`)) };
  const file = join(directory, "backup");
  expect(await backUp(stores, file)).toMatchObject({ conversations: ids.length, damaged: [] });
  expect((await rotate(rotating)).retired).toEqual(records.ring?.ids);
  for (const id of ids) await platform.conversations.delete(id);
  expect(await restore(stores, file)).toMatchObject({ conversations: ids.length });
  expect(await heads()).toEqual(before);
}, 120_000);

test("a lost wake is rung again, from whichever node", async () => {
  const turns = [1, 2, 3, 4, 5, 6].map((id) => ask(aConversation(`lost-${id}`), id));
  for (const turn of turns) await platform.mailbox.append(turn);
  for (const turn of turns) expect((await platform.reply(turn, 60_000)).status).toBe("committed");
  expect(await platform.ledger.outbox()).toEqual([]);
}, 90_000);
