/** Finding conversations by when they were last used, or by where they are. */
import type { Redis } from "ioredis";
import { redisTimeMs } from "#infra/redis/client.ts";
import { bucketCount, bucketKeys, conversationKeys } from "#infra/redis/keys.ts";
import { type CommunityId, type ConversationId, conversationId } from "#infra/turn/index.ts";

/** Read at once; more are read when these are done with. */
const pageSize = 500;

/** Those whose last turn came in longer than `idleMs` ago, bucket by bucket. */
export async function* idleConversations(
  truth: Redis,
  idleMs: number,
): AsyncGenerator<ConversationId> {
  const before = (await redisTimeMs(truth)) - idleMs;
  for (let bucket = 0; bucket < bucketCount; bucket++) {
    const { active } = bucketKeys(bucket);
    const names = await truth.zrangebyscore(active, "-inf", before, "LIMIT", 0, pageSize);
    for (const name of names) yield conversationId(name);
  }
}

/** Those that somebody spoke in while they belonged to the community. */
export async function* conversationsOf(
  truth: Redis,
  community: CommunityId,
): AsyncGenerator<ConversationId> {
  for (let bucket = 0; bucket < bucketCount; bucket++) {
    const pages = truth.zscanStream(bucketKeys(bucket).active, { count: pageSize });
    for await (const page of pages) {
      const names = (page as string[]).filter((_, index) => index % 2 === 0);
      for (const name of names) {
        const conversation = conversationId(name);
        const { meta } = conversationKeys(conversation);
        if ((await truth.hget(meta, "community")) === community) yield conversation;
      }
    }
  }
}
