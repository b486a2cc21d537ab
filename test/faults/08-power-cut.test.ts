/**
 * Fault: the power fails: the truth Redis' append-only file ends anywhere.
 * Expected: Redis starts from what is whole of it; a script is in it wholly or not at all.
 * Invariant: whatever the place of the cut, every conversation is one that once was: its log is a
 *   chain, each turn is either answered or still waiting, and it can be gone on with.
 * Bound: 0 torn, at 200 seeded offsets in `npm run faults`.
 */
import { cpSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Ledger } from "#infra/ledger/ledger.ts";
import { formatLogHead } from "#infra/ledger/tokenlog.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { seededRandom } from "#test/doubles/discord/faults.ts";
import { ScriptedWorker } from "#test/gateway/scripted-worker.ts";
import { RedisServer } from "#test/redis/server.ts";
import { aConversation, aTurn } from "../infra/turns.ts";
import { patience, rounds } from "./figures.ts";

const conversations = Array.from({ length: 4 }, (_, index) => aConversation(`cut-${index}`));
const turnsEach = 12;
const aofFolder = "appendonlydir";

test("no cut of the append-only file tears a turn", patience(24), async () => {
  const server = await RedisServer.start();
  const copies = mkdtempSync(join(tmpdir(), "eyrie-cut-"));
  try {
    const client = await server.client();
    await fill(client);
    client.disconnect();
    await server.kill();
    const random = seededRandom(8);
    const aof = aofIn(server.directory);
    const { size } = statSync(aof);
    for (let cut = 0; cut < Math.min(200, rounds(24)); cut++) {
      const directory = join(copies, String(cut));
      cpSync(join(server.directory, aofFolder), join(directory, aofFolder), { recursive: true });
      truncateSync(aofIn(directory), Math.floor(random() * size));
      await checkCopy(directory);
      rmSync(directory, { recursive: true });
    }
  } finally {
    await server.stop();
    rmSync(copies, { recursive: true, force: true });
  }
});

/** Turns come in twice as fast as they are answered, so that there is mail at every moment. */
async function fill(truth: ScriptedRedis): Promise<void> {
  const worker = new ScriptedWorker(truth, truth);
  for (let turn = 0; turn < turnsEach; turn++) {
    for (const [index, conversation] of conversations.entries()) {
      const id = 1000 * (index + 1) + turn;
      await worker.mailbox.append(aTurn(id, { conversation }));
      if (turn % 2 === 0) continue;
      const claim = await worker.claim(conversation);
      await worker.commit(claim, `answer to ${claim.head.id}`, { quietly: true });
    }
  }
}

async function checkCopy(directory: string): Promise<void> {
  const server = await RedisServer.start({ dir: directory });
  const truth = await server.client();
  try {
    const worker = new ScriptedWorker(truth, truth);
    for (const [index, conversation] of conversations.entries()) {
      await checkConversation({ truth, index });
      await worker.mailbox.append(aTurn(9000 + index, { conversation }));
      await truth.del(conversationKeys(conversation).lease);
      await worker.commit(await worker.claim(conversation), "after the cut", { quietly: true });
    }
  } finally {
    truth.disconnect();
    await server.stop();
  }
}

async function checkConversation(one: { truth: ScriptedRedis; index: number }): Promise<void> {
  const { truth, index } = one;
  const conversation = conversations[index]!;
  const ledger = new Ledger(truth);
  const { turns, blocks, logHead } = await ledger.summary(conversation);
  const log = await ledger.log(conversation, logHead);
  expect(log).toHaveLength(blocks);
  expect(formatLogHead(log?.at(-1)?.end ?? logHead)).toBe(formatLogHead(logHead));
  const waiting = await new Mailbox(truth).waiting(conversation);
  const seq = Number((await truth.hget(conversationKeys(conversation).meta, "seq")) ?? 0);
  expect(waiting.map(({ id }) => Number(id) - 1000 * (index + 1))).toEqual(
    Array.from({ length: seq - turns }, (_, later) => turns + later),
  );
  for (let turn = 0; turn < seq; turn++) {
    const { id } = aTurn(1000 * (index + 1) + turn);
    const record = await ledger.reply(conversation, { turn: id, attempt: 0 });
    expect(record?.text).toBe(turn < turns ? `answer to ${id}` : undefined);
  }
}

function aofIn(directory: string): string {
  const folder = join(directory, aofFolder);
  const name = readdirSync(folder).find((file) => file.endsWith(".incr.aof"));
  if (name === undefined) throw new Error(`no append-only file in ${folder}`);
  return join(folder, name);
}
