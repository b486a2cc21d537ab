/**
 * The bell of a mailbox: a BullMQ job that says "this conversation has mail".
 *
 * One job per conversation at a time (deduplicated by conversation). A wake rung while the job is
 * being worked on becomes the next one, at the tail of the queue, so a busy channel cannot starve
 * others. A lost wake is rung again by the sweeper; a superfluous one finds an empty mailbox.
 * The job carries ids only, so no board or log shows what people wrote.
 */
import { Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import { wakePrefix, wakeQueueName } from "#infra/redis/keys.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { sweepMailboxes, type Wake } from "./sweep.ts";

export { sweepMs, type Wake } from "./sweep.ts";

/** A worker that stops renewing a job loses it after this; checked every `stallCheckMs`. */
const lockMs = 3_000;
const stallCheckMs = 1_000;
/** Poison turns are ended by their claims, not by the queue giving up on a conversation. */
const stalledCountMax = 1_000_000;
/**
 * The library's worker takes jobs one after the other, three round trips each. With one for so many turns
 * at once no turn waits long for those before it.
 */
const turnsPerTaker = 64;

export class WakeBell {
  readonly #truth: Redis;
  readonly #queues = new Map<string, Queue>();

  constructor(truth: Redis) {
    this.#truth = truth;
  }

  async ring(wake: Wake): Promise<void> {
    await this.#queue(wake.model).add("wake", wake, {
      deduplication: { id: wake.conversation, keepLastIfActive: true },
      removeOnComplete: true,
      removeOnFail: true,
    });
  }

  /** Rings for mail that nobody came for, see {@link sweepMailboxes}; returns how often. */
  async sweep(model: string): Promise<number> {
    return sweepMailboxes(this.#truth, this, model);
  }

  /**
   * Takes back what was rung for a conversation. A wake that is being answered ends by itself: its
   * worker finds an empty mailbox.
   */
  async forget(conversation: ConversationId, model: string): Promise<void> {
    const queue = this.#queue(model);
    const jobId = await queue.getDeduplicationJobId(conversation);
    await queue.removeDeduplicationKey(conversation);
    await this.#truth.del(queue.toKey(`dn:${conversation}`));
    if (jobId !== null) await queue.remove(jobId);
    // Nobody reads the queue's events, and those of repeated wakes name their conversation.
    await this.#truth.xtrim(queue.toKey("events"), "MAXLEN", 0);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
  }

  #queue(model: string): Queue {
    const existing = this.#queues.get(model);
    if (existing !== undefined) return existing;
    const queue = new Queue(wakeQueueName(model), {
      connection: this.#truth,
      prefix: wakePrefix,
    });
    queue.on("error", () => {
      // ioredis reconnects by itself; a failed ring is rung again by the sweeper.
    });
    this.#queues.set(model, queue);
    return queue;
  }
}

export interface WakeWorker {
  /** Stops taking wakes and waits for those being answered. */
  close(): Promise<void>;
}

/** Answers a model's wakes, at most `concurrency` at a time. */
export async function answerWakes(
  truth: Redis,
  options: { readonly model: string; readonly concurrency: number },
  answer: (wake: Wake) => Promise<void>,
): Promise<WakeWorker> {
  const { concurrency, model } = options;
  const takers = Math.ceil(concurrency / turnsPerTaker);
  const workers = Array.from({ length: takers }, (_, index) => {
    const worker = new Worker<Wake>(wakeQueueName(model), async (job) => answer(job.data), {
      connection: truth,
      prefix: wakePrefix,
      concurrency: Math.floor((concurrency + index) / takers),
      lockDuration: lockMs,
      stalledInterval: stallCheckMs,
      skipStalledCheck: index > 0,
      maxStalledCount: stalledCountMax,
    });
    worker.on("error", () => {
      // Connection errors heal by themselves; a job's own errors are handled by `answer`.
    });
    return worker;
  });
  await Promise.all(workers.map(async (worker) => worker.waitUntilReady()));
  return {
    close: async () => {
      await Promise.all(workers.map(async (worker) => worker.close()));
    },
  };
}
