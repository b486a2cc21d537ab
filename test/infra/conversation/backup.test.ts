/** A backup is taken under load, everything is lost, and the conversations go on as if nothing were. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { backUp } from "#infra/conversation/backup.ts";
import { readBackup } from "#infra/conversation/backup-file.ts";
import { restore } from "#infra/conversation/restore.ts";
import { formatLogHead, parseLogHead } from "#infra/ledger/tokenlog.ts";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import { bucketKeys, bucketOf, conversationKeys } from "#infra/redis/keys.ts";
import { plainRecords, Records } from "#infra/redis/records.ts";
import { type ConversationId, conversationId, userId } from "#infra/turn/index.ts";
import { aTurn } from "../turns.ts";
import { everything, Workshop } from "./workshop.ts";

const directory = mkdtempSync(join(tmpdir(), "eyrie-backup-"));
const ids = [1, 2, 3].map((number) => conversationId(`discord-2236067977499789${number}`));
const sealed = new Records(KeyRing.parse(newKey()));
let shop: Workshop;
let files = 0;

beforeAll(async () => {
  shop = await Workshop.open(sealed);
});

afterAll(async () => {
  await shop.close();
  rmSync(directory, { recursive: true });
});

beforeEach(async () => shop.empty());

function aFile(): string {
  return join(directory, `backup-${++files}`);
}

function stores({ records, state, truth }: Workshop) {
  return { records, state, truth };
}

async function speak(of: ConversationId, id: number, workshop = shop): Promise<void> {
  const origin = {
    kind: "discord-message",
    channelId: of.slice(8),
    messageId: String(id),
  } as const;
  const turn = { text: `the words of ${id}`, origin, author: userId(String(1000 + (id % 3))) };
  await workshop.exchange(of, id, { tokens: [id, id + 1, 65_000], turn });
  await workshop.snapshot(of, await workshop.logHead(of));
}

/** Three conversations: one long and trimmed, one with mail and an undelivered reply, one fresh. */
async function fill(workshop = shop): Promise<void> {
  const [long, waiting, fresh] = ids as [ConversationId, ConversationId, ConversationId];
  for (let id = 100; id < 115; id++) await speak(long, id, workshop);
  const hold = await workshop.mailbox.hold(long, await workshop.logHead(long));
  const log = await workshop.ledger.log(long, await workshop.ledger.logHead(long));
  const to = log?.[4]?.end;
  if (hold === null || to === undefined) throw new Error("no log");
  await workshop.ledger.trim(hold, { from: hold.logStart, to }, 5);
  const before = log?.slice(0, 5).map(({ start }) => formatLogHead(start)) ?? [];
  await workshop.snapshots.drop(long, before);
  await workshop.mailbox.release(hold, { forgive: false });
  await speak(waiting, 200, workshop);
  await workshop.mailbox.append(aTurn(201, { conversation: waiting, text: "still waiting" }));
  await workshop.exchange(fresh, 300);
}

/** What it knows and can do, for comparison with a twin; not when it was last used. */
async function standing(of: ConversationId, workshop = shop): Promise<unknown> {
  const { state, truth, undelivered, waits } = await workshop.conversations.export(of);
  const values = Object.entries({ ...truth, ...state }).map(([name, one]) => [
    name,
    one.value,
    one.expiresInSeconds === null,
  ]);
  return { undelivered, values: values.filter(([name]) => name !== "lease"), waits };
}

async function standings(workshop = shop): Promise<unknown[]> {
  return Promise.all(ids.map(async (id) => standing(id, workshop)));
}

test("everything comes back as it was, and goes on", async () => {
  await fill();
  const before = await standings();
  const path = aFile();
  const steps: number[] = [];
  const done = await backUp(stores(shop), path, { progress: (count) => steps.push(count) });
  expect(done).toMatchObject({ conversations: 3, damaged: [], bytes: statSync(path).size });
  expect(done.snapshots).toBeGreaterThan(3);
  expect(steps).toEqual([0, 1, 2, 3]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await standings()).toEqual(before);
  await shop.empty();
  expect(await restore(stores(shop), path)).toEqual({
    conversations: 3,
    snapshots: done.snapshots,
    replaced: 0,
    damaged: [],
  });
  expect(await standings()).toEqual(before);
  // The sweeper finds its mail, the outbox its reply, and the next turn its place.
  const waiting = ids[1] ?? ("" as ConversationId);
  const { dirty } = bucketKeys(bucketOf(waiting));
  expect(await shop.truth.zscore(dirty, waiting)).not.toBeNull();
  const claim = await shop.claim(waiting);
  expect(claim.head.text).toBe("still waiting");
  expect((await shop.commit(claim, [7, 8])).kind).toBe("committed");
  expect((await shop.mailbox.append(claim.head)).kind).toBe("known");
});

test("with keys nothing in it can be read, and other keys restore it while they hold the old", async () => {
  await fill();
  const path = aFile();
  await backUp(stores(shop), path);
  const bytes = readFileSync(path).toString("latin1");
  for (const word of ["the words", "still waiting", "state at", "discord-22360"]) {
    expect(bytes).not.toContain(word);
  }
  const before = await standings();
  await shop.empty();
  const other = shop.with(new Records(KeyRing.parse(newKey())));
  await expect(restore(stores(other), path)).rejects.toMatchObject({ code: "KEY_MISSING" });
  await expect(restore(stores(shop.with(plainRecords)), path)).rejects.toMatchObject({
    code: "KEY_MISSING",
  });
  expect(await shop.truth.dbsize()).toBe(0);
  await restore(stores(shop), path);
  expect(await standings()).toEqual(before);
});

test("a plain one is restored sealed where there are keys by then", async () => {
  const plain = shop.with(plainRecords);
  await fill(plain);
  const path = aFile();
  await backUp(stores(plain), path);
  expect((await everything(shop.truth)).join("\n")).toContain("the words of");
  await shop.empty();
  await restore(stores(shop), path);
  const lines = [...(await everything(shop.truth)), ...(await everything(shop.state))].join("\n");
  expect(lines).not.toContain("the words");
  expect(lines).not.toContain("first 100");
  expect(
    await shop.conversations.forgetUser(ids[0] ?? ("" as ConversationId), userId("1001")),
  ).toEqual({
    kind: "reset",
  });
});

/** With another bit in the byte `at`. */
function flip(value: Buffer | null | undefined, at: number): Buffer {
  const bytes = Buffer.from(value ?? Buffer.of(0));
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  return bytes;
}

describe("one record that has rotted spoils nothing else, and is told of", () => {
  const [rotten = "" as ConversationId] = ids;
  const keys = conversationKeys(rotten);

  test.each([
    ["sealed", sealed],
    ["plain", plainRecords],
  ])("where somebody's words begin: %s", async (_, records) => {
    const workshop = shop.with(records);
    for (const [index, id] of ids.entries()) await speak(id, 100 + index, workshop);
    const fields = Object.entries(await shop.truth.hgetallBuffer(keys.meta));
    const [field = "", value] = fields.find(([name]) => name.startsWith("first ")) ?? [];
    await shop.truth.hset(keys.meta, field, flip(value, (value?.length ?? 1) - 1));
    const path = aFile();
    const damaged = [rotten];
    expect(await backUp(stores(workshop), path)).toMatchObject({ conversations: 3, damaged });
    await shop.empty();
    expect(await restore(stores(workshop), path)).toMatchObject({ conversations: 3, damaged });
    expect(await workshop.tokens(rotten)).toEqual([100, 101, 65_000]);
    // Also when nothing else is left that would tell of them.
    await shop.truth.del(keys.turns);
    const forgotten = await workshop.conversations.forgetUser(rotten, userId("1001"));
    expect(forgotten).toEqual({ kind: "reset" });
  });

  test("the name of the key that sealed it", async () => {
    for (const [index, id] of ids.entries()) await speak(id, 100 + index);
    await shop.truth.lset(keys.log, 0, flip(await shop.truth.lindexBuffer(keys.log, 0), 2));
    const past = await shop.truth.lindexBuffer(keys.turns, 0);
    await shop.truth.lset(keys.turns, 0, flip(past, 2));
    const path = aFile();
    expect(await backUp(stores(shop), path)).toMatchObject({ damaged: [rotten] });
    await shop.empty();
    expect(await restore(stores(shop), path)).toMatchObject({ conversations: 3 });
  });
});

test("taken while everybody talks, each conversation is of one moment and whole", async () => {
  await fill();
  const enough = new AbortController();
  let id = 1000;
  const talk = (async () => {
    while (!enough.signal.aborted) {
      for (const of of ids.slice(0, 1)) await speak(of, id++);
    }
  })();
  const paths = [aFile(), aFile(), aFile()];
  for (const path of paths) await backUp(stores(shop), path);
  enough.abort();
  await talk;
  const [long = "" as ConversationId] = ids;
  for (const path of paths) {
    await shop.empty();
    await restore(stores(shop), path);
    const meta = await shop.truth.hgetall(conversationKeys(long).meta);
    const head = parseLogHead(meta["logHead"] ?? "");
    // Without a gap, to the head, with a state on it, and the newest turn's record beside it.
    const log = await shop.ledger.log(long, head);
    const turns = await shop.history.turns(long);
    expect(log?.at(-1)?.end).toEqual(head);
    expect(Number(meta["committedSeq"])).toBe(turns.at(-1)?.seq);
    for (const turn of turns) expect(await shop.ledger.reply(long, turn)).not.toBeNull();
    expect((await shop.snapshots.present(long)).length).toBeGreaterThan(0);
  }
});

test("what is there is not overwritten: RESTORE_CONFLICT, unless it is to be replaced", async () => {
  await fill();
  const path = aFile();
  await backUp(stores(shop), path);
  const before = await standings();
  const [long = "" as ConversationId] = ids;
  await speak(long, 900);
  const after = await standings();
  await expect(restore(stores(shop), path)).rejects.toMatchObject({
    code: "RESTORE_CONFLICT",
    values: { count: 3 },
  });
  expect(await standings()).toEqual(after);
  const replace = async (id: ConversationId) => shop.conversations.delete(id);
  expect(await restore(stores(shop), path, { replace })).toMatchObject({ replaced: 3 });
  expect(await standings()).toEqual(before);
});

test("one that begins between the check and the restore is left alone", async () => {
  await fill();
  const path = aFile();
  await backUp(stores(shop), path);
  await shop.empty();
  const late = shop.truth.restoreConversation.bind(shop.truth);
  shop.truth.restoreConversation = async (...args) => {
    shop.truth.restoreConversation = late;
    await shop.exchange(conversationId(String(args[1]).split(":")[2] ?? ""), 5);
    return late(...args);
  };
  await expect(restore(stores(shop), path)).rejects.toMatchObject({ code: "RESTORE_CONFLICT" });
});

describe("a file that cannot be restored is named and changes nothing", () => {
  async function small(records = sealed): Promise<Buffer> {
    const workshop = shop.with(records);
    await workshop.exchange(ids[0] ?? ("" as ConversationId), 1);
    const path = aFile();
    await backUp(stores(workshop), path);
    await shop.empty();
    return readFileSync(path);
  }

  async function codeOf(bytes: Buffer, records = sealed): Promise<string> {
    const path = aFile();
    writeFileSync(path, bytes);
    try {
      for await (const frame of readBackup(path, records)) expect(frame).toBeDefined();
      return "";
    } catch (error) {
      return String((error as { code?: string }).code);
    }
  }

  test.each([
    ["sealed", sealed],
    ["plain", plainRecords],
  ] as const)(
    "every flipped bit of the head and many of the rest, every cut: %s",
    async (_, records) => {
      const good = await small(records);
      expect(await codeOf(good, records)).toBe("");
      for (let bit = 0; bit < 8 * good.length; bit += bit < 8 * 45 ? 1 : 37) {
        const bad = Buffer.from(good);
        bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(await codeOf(bad, records), `bit ${bit}`).toBe("BACKUP_UNREADABLE");
      }
      for (let length = 0; length < good.length; length += 11) {
        expect(await codeOf(good.subarray(0, length), records)).toBe("BACKUP_UNREADABLE");
      }
      expect(await codeOf(Buffer.concat([good, Buffer.of(0)]), records)).toBe("BACKUP_UNREADABLE");
    },
  );

  test("a newer one says so: BACKUP_NEWER", async () => {
    const newer = await small();
    newer.writeUInt16LE(2, 8);
    newer.writeUInt32LE((await import("node:zlib")).crc32(newer.subarray(0, 28)), 28);
    expect(await codeOf(newer)).toBe("BACKUP_NEWER");
  });

  test("frames of another backup do not fit into this one", async () => {
    const [one, two] = [await small(), await small()];
    const mixed = Buffer.concat([one.subarray(0, 32), two.subarray(32)]);
    expect(await codeOf(mixed)).toBe("BACKUP_UNREADABLE");
  });

  test("another file, a folder, none", async () => {
    expect(
      await codeOf(Buffer.from("PK\u0003\u0004 some archive of somebody else's, long enough")),
    ).toBe("BACKUP_UNREADABLE");
    for (const path of [directory, join(directory, "none")]) {
      await expect(restore(stores(shop), path)).rejects.toMatchObject({
        code: "BACKUP_UNREADABLE",
      });
    }
    expect(await shop.truth.dbsize()).toBe(0);
  });
});

function left(): string[] {
  return readdirSync(directory).filter((name) => name.includes("partial"));
}

describe("a backup that cannot be written leaves nothing behind", () => {
  test("where a file is, it stays: BACKUP_EXISTS, unless it is to be replaced", async () => {
    await shop.exchange(ids[0] ?? ("" as ConversationId), 1);
    const path = aFile();
    writeFileSync(path, "precious");
    await expect(backUp(stores(shop), path)).rejects.toMatchObject({ code: "BACKUP_EXISTS" });
    expect(readFileSync(path, "utf8")).toBe("precious");
    await backUp(stores(shop), path, { replace: true });
    expect(readFileSync(path).subarray(0, 8).toString()).toBe("EYRIEBAK");
  });

  test("no such folder, or a disk that is full", async () => {
    await fill();
    const nowhere = backUp(stores(shop), join(directory, "none", "file"));
    await expect(nowhere).rejects.toMatchObject({ code: "FOLDER_UNWRITABLE" });
    const { FileHandle } = await fileHandleOf();
    const write = FileHandle.write;
    let calls = 0;
    FileHandle.write = async function full(this: unknown, ...args: unknown[]) {
      if (++calls > 3) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
      return write.apply(this, args);
    };
    try {
      const path = aFile();
      await expect(backUp(stores(shop), path)).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(readdirSync(directory)).not.toContain(path.split("/").at(-1));
    } finally {
      FileHandle.write = write;
    }
    expect(left()).toEqual([]);
  });

  test("stopped", async () => {
    await fill();
    const stop = new AbortController();
    const progress = (done: number): void => {
      if (done === 1) stop.abort();
    };
    const stopped = backUp(stores(shop), aFile(), { progress, signal: stop.signal });
    await expect(stopped).rejects.toMatchObject({ code: "BACKUP_STOPPED" });
    expect(left()).toEqual([]);
  });
});

/** The class behind `fs/promises`' handles: what a full disk does to every write of this process. */
async function fileHandleOf(): Promise<{
  FileHandle: { write: (...args: unknown[]) => Promise<unknown> };
}> {
  const { open } = await import("node:fs/promises");
  const handle = await open(join(directory, "probe"), "w");
  await handle.close();
  return { FileHandle: Object.getPrototypeOf(handle) as never };
}
