/**
 * Says whether a reply record is on a replica, too, so that nothing is shown as final that a failover
 * could take back.
 *
 * A master gives its replicas everything in order: when one has a write that was made after the record
 * was seen, it has the record. So a barrier is written, the records are looked at, and WAIT tells how
 * many replicas have come as far; all on one connection, and if that was lost meanwhile (perhaps to
 * another master, which may know less), the answer is no. Records that are asked about while a barrier
 * is on its way share the next one.
 *
 * Without a replica the answer is yes and costs nothing but a look, once a second at most, at whether
 * there is one by now. Where one is expected (sentinels), or was seen by this process, its absence is no
 * excuse: a master that is cut off from its replicas may have been replaced.
 */
import type { Redis } from "ioredis";
import { duplicateRedis } from "./client.ts";
import { serverOf } from "./address.ts";
import { barrierKey } from "./keys.ts";

/** How long a replica may take, … */
const replicaMsMax = 200;
/** … and how old a look at the number of replicas may be. */
const lookMsMax = 1_000;
const barrierSeconds = 60;

interface Question {
  readonly key: string;
  readonly answer: (confirmed: boolean) => void;
}

export class Replication {
  readonly #truth: Redis;
  readonly #expected: boolean;
  /** Of a cluster each master has its own replicas. */
  readonly #servers = new Map<Redis, OneServer>();

  constructor(truth: Redis, options: { readonly expected: boolean }) {
    this.#truth = truth;
    this.#expected = options.expected;
  }

  /** Whether what is stored under `key` now is on a replica, if there is any. Never throws. */
  async confirms(key: string): Promise<boolean> {
    try {
      const server = await serverOf(this.#truth, key);
      if (server === null) return false;
      const known = this.#servers.get(server) ?? new OneServer(server, this.#expected);
      this.#servers.set(server, known);
      return await known.confirms(key);
    } catch {
      // Not confirmed: whoever asked asks again.
      return false;
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#servers.values()].map((server) => server.close()));
  }
}

class OneServer {
  readonly #server: Redis;
  #expected: boolean;
  #lookedMs = -Infinity;
  #look: Promise<void> | null = null;
  #connection: Promise<Redis> | null = null;
  /** Grows with every connection that was lost. */
  #epoch = 0;
  #questions: Question[] = [];
  #asking = false;

  constructor(server: Redis, expected: boolean) {
    this.#server = server;
    this.#expected = expected;
  }

  async confirms(key: string): Promise<boolean> {
    if (!(await this.#hasReplicas())) return true;
    return new Promise((answer) => {
      this.#questions.push({ key, answer });
      if (!this.#asking) void this.#ask();
    });
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = null;
    (await connection)?.disconnect();
  }

  async #hasReplicas(): Promise<boolean> {
    if (this.#expected) return true;
    const nowMs = performance.now();
    if (nowMs - this.#lookedMs < lookMsMax) return false;
    this.#look ??= this.#lookForReplicas().finally(() => {
      this.#look = null;
    });
    await this.#look;
    return this.#expected;
  }

  async #lookForReplicas(): Promise<void> {
    const info = await this.#server.info("replication");
    this.#lookedMs = performance.now();
    this.#expected = /^connected_slaves:[1-9]/m.test(info);
  }

  async #ask(): Promise<void> {
    this.#asking = true;
    while (this.#questions.length > 0) {
      const questions = this.#questions.splice(0);
      let confirmed: ReadonlySet<string> = new Set();
      try {
        confirmed = await this.#barrier(questions.map(({ key }) => key));
      } catch {
        // Not confirmed: whoever asked asks again.
      }
      for (const { key, answer } of questions) answer(confirmed.has(key));
    }
    this.#asking = false;
  }

  async #barrier(keys: readonly string[]): Promise<ReadonlySet<string>> {
    this.#connection ??= this.#connect();
    const connection = await this.#connection;
    const epoch = this.#epoch;
    const [, found, replicas] = await Promise.all([
      connection.set(barrierKey(keys[0] ?? ""), "1", "EX", barrierSeconds),
      Promise.all(keys.map(async (key) => ({ key, exists: await connection.exists(key) }))),
      connection.wait(1, replicaMsMax),
    ]);
    const held = replicas >= 1 && epoch === this.#epoch;
    return new Set(found.flatMap(({ key, exists }) => (held && exists === 1 ? [key] : [])));
  }

  /** Its own connection: WAIT holds up everything behind it. */
  async #connect(): Promise<Redis> {
    try {
      const connection = await duplicateRedis(this.#server);
      connection.on("close", () => this.#epoch++);
      // A node of a cluster does not come back by itself.
      connection.on("end", () => (this.#connection = null));
      return connection;
    } catch (error) {
      this.#connection = null;
      throw error;
    }
  }
}
