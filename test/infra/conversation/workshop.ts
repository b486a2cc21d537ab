/**
 * Two real Redis and conversations in them, without a model: turns are committed by hand, and a
 * "state" is any bytes. `everything` lists all that a server holds, names and values.
 */
import { Conversations } from "#infra/conversation/conversations.ts";
import { History } from "#infra/ledger/history.ts";
import { type CommitOutcome, Ledger } from "#infra/ledger/ledger.ts";
import { parseLogHead } from "#infra/ledger/tokenlog.ts";
import { type Claim, Mailbox } from "#infra/mailbox/mailbox.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import { plainRecords, type Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import type { ConversationId, ReplyRecord, Turn } from "#infra/turn/index.ts";
import { WakeBell } from "#infra/wake/wake.ts";
import { packSnapshot } from "#kernels/state/snapshot.ts";
import { RedisServer } from "#test/redis/server.ts";
import { aRecord, aTurn } from "../turns.ts";

export class Workshop {
  readonly truthServer: RedisServer;
  readonly truth: ScriptedRedis;
  readonly state: ScriptedRedis;
  readonly records: Records;
  readonly mailbox: Mailbox;
  readonly ledger: Ledger;
  readonly history: History;
  readonly snapshots: SnapshotStore;
  readonly bell: WakeBell;
  readonly conversations: Conversations;
  readonly #servers: readonly [RedisServer, RedisServer];

  private constructor(
    servers: readonly [RedisServer, RedisServer],
    redis: [ScriptedRedis, ScriptedRedis],
    records: Records,
  ) {
    const [truth, state] = redis;
    this.#servers = servers;
    this.truthServer = servers[0];
    this.truth = truth;
    this.records = records;
    this.state = state;
    this.mailbox = new Mailbox(truth, records);
    this.ledger = new Ledger(truth, records);
    this.history = new History(truth, records);
    this.snapshots = new SnapshotStore(state, records);
    this.bell = new WakeBell(truth);
    this.conversations = new Conversations({ truth, state }, this.bell, records);
  }

  static async open(records: Records = plainRecords): Promise<Workshop> {
    const servers = await Promise.all([RedisServer.start(), RedisServer.start()]);
    return new Workshop(servers, [await servers[0].client(), await servers[1].client()], records);
  }

  /** The same servers seen with other keys; this one's `close` closes them for both. */
  with(records: Records): Workshop {
    return new Workshop(this.#servers, [this.truth, this.state], records);
  }

  async close(): Promise<void> {
    await this.bell.close();
    this.truth.disconnect();
    this.state.disconnect();
    for (const server of this.#servers) await server.stop();
  }

  async empty(): Promise<void> {
    await this.truth.flushall();
    await this.state.flushall();
  }

  async claim(conversation: ConversationId): Promise<Claim> {
    await this.truth.del(conversationKeys(conversation).lease);
    const outcome = await this.mailbox.claim(conversation, "by hand");
    if (outcome.kind !== "claimed") throw new Error(`not claimed: ${outcome.kind}`);
    return outcome.claim;
  }

  async commit(
    claim: Claim,
    tokens: readonly number[],
    record: Partial<ReplyRecord> = {},
  ): Promise<CommitOutcome> {
    const startedFrom = parseLogHead(claim.logHead);
    const outcome = await this.ledger.commit(claim, aRecord(claim, record), {
      startedFrom,
      tokens,
    });
    await this.mailbox.release(claim, { forgive: false });
    return outcome;
  }

  /** Turn `id`, whose block is `tokens`, from the mailbox to the ledger. */
  async exchange(
    conversation: ConversationId,
    id: number,
    options: { readonly tokens?: readonly number[]; readonly turn?: Partial<Turn> } = {},
  ): Promise<Turn> {
    const turn = aTurn(id, { conversation, ...options.turn });
    await this.mailbox.append(turn);
    await this.commit(await this.claim(conversation), options.tokens ?? [id, id + 1]);
    return turn;
  }

  async tokens(conversation: ConversationId): Promise<number[]> {
    const head = await this.ledger.logHead(conversation);
    const blocks = (await this.ledger.log(conversation, head)) ?? [];
    return blocks.flatMap((block) => block.tokens);
  }

  /** A snapshot where the log ends now, as a worker leaves it. */
  async snapshot(
    conversation: ConversationId,
    logHead: string,
    packed = Buffer.from(`state at ${logHead}`),
  ): Promise<void> {
    await this.snapshots.write(conversation, logHead, packed);
    await this.snapshots.confirm(conversation, logHead);
  }

  async logHead(conversation: ConversationId): Promise<string> {
    return (await this.truth.hget(conversationKeys(conversation).meta, "logHead")) ?? "0:0:0";
  }
}

/** A state as a worker packs it, for those who look into it. */
export function packedState(logHead: string): Buffer<ArrayBuffer> {
  const { crc, tokens } = parseLogHead(logHead);
  const header = {
    fingerprint: "f",
    numericClass: "test",
    tokenPosition: tokens,
    tokenLogChecksum: crc,
  };
  return packSnapshot(new Float32Array(64), header, { codec: "f32", headSize: 8 });
}

/** Names and values of all that a server holds, one line each; binary values as latin1. */
export async function everything(redis: ScriptedRedis): Promise<string[]> {
  const lines: string[] = [];
  for await (const page of redis.scanStream({ count: 1000 })) {
    for (const key of page as string[]) lines.push(`${key} ${await valueOf(redis, key)}`);
  }
  return lines.sort();
}

async function valueOf(redis: ScriptedRedis, key: string): Promise<string> {
  switch (await redis.type(key)) {
    case "string":
      return (await redis.getBuffer(key))?.toString("latin1") ?? "";
    case "list":
      return (await redis.lrangeBuffer(key, 0, -1)).map((one) => one.toString("latin1")).join();
    case "hash":
      return JSON.stringify(await redis.hgetall(key));
    case "zset":
      return (await redis.zrange(key, "0", "-1")).join();
    case "set":
      return (await redis.smembers(key)).join();
    case "stream":
      return JSON.stringify(await redis.xrange(key, "-", "+"));
    default:
      return "";
  }
}
