/**
 * Rings again for mail that nobody came for: its wake was lost, or its worker died. What says so is
 * in truth, so a sweep by any worker at any time finds it.
 */
import type { Redis } from "ioredis";
import { redisTimeMs } from "#infra/redis/client.ts";
import { bucketCount, bucketKeys, conversationKeys } from "#infra/redis/keys.ts";
import { type ConversationId, conversationId } from "#infra/turn/index.ts";

/** "This conversation has mail": ids only, so no board or log shows what people wrote. */
export interface Wake {
  readonly conversation: ConversationId;
  readonly headTurnId: string;
  readonly model: string;
  readonly traceId: string;
}

/** Mailboxes not emptied this long after their last append are woken again. */
export const sweepMs = 2_000;

/**
 * Rings for every conversation of `model` that has had mail for longer than a sweep and that no worker
 * holds: whoever does rings for what is left, or lets the lease run out. Returns how many.
 */
export async function sweepMailboxes(
  truth: Redis,
  bell: { ring(wake: Wake): Promise<void> },
  model: string,
): Promise<number> {
  const before = (await redisTimeMs(truth)) - sweepMs;
  // One call a bucket: on a cluster they lie on different servers.
  const buckets = Array.from({ length: bucketCount }, async (_, bucket) =>
    truth.zrangebyscore(bucketKeys(bucket).dirty, "-inf", before),
  );
  const ids = (await Promise.all(buckets)).flat();
  const due = await Promise.all(
    ids.map(async (id) => {
      const conversation = conversationId(id);
      const { lease, meta } = conversationKeys(conversation);
      const [held, owner] = await Promise.all([truth.exists(lease), truth.hget(meta, "model")]);
      return held === 0 && owner === model ? conversation : null;
    }),
  );
  const alone = due.filter((conversation) => conversation !== null);
  // One after the other: after an outage they may be thousands, and truth has others to serve.
  for (const conversation of alone) {
    await bell.ring({ conversation, headTurnId: "", model, traceId: "sweep" });
  }
  return alone.length;
}
