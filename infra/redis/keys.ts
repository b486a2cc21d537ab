/**
 * Every key name, built here and nowhere else.
 *
 * Truth keys of a conversation share the hash tag of its bucket, so one script may touch them all
 * on a cluster. State keys are tagged by conversation: they are only ever touched one at a time.
 */
import { crc32 } from "node:zlib";
import {
  type ConversationId,
  isConversationId,
  type TurnId,
  type TurnKey,
} from "#infra/turn/index.ts";

/** Part of every truth key: changing it needs a migration. */
export const bucketCount = 64;

export function bucketOf(conversation: ConversationId): number {
  return crc32(conversation) % bucketCount;
}

export interface BucketKeys {
  /** zset: conversation with mail → time of its last append, for the sweeper. */
  readonly dirty: string;
  /** zset: every conversation → time of its last append. */
  readonly active: string;
  /** zset: {@link outboxMember} → time of its commit. */
  readonly outbox: string;
}

export function bucketKeys(bucket: number): BucketKeys {
  const prefix = `eyrie:{${bucket}}`;
  return {
    dirty: `${prefix}:dirty`,
    active: `${prefix}:active`,
    outbox: `${prefix}:outbox`,
  };
}

export interface ConversationKeys extends BucketKeys {
  readonly meta: string;
  readonly lease: string;
  readonly mailbox: string;
  readonly log: string;
  /** list: the newest turns that can be taken back, oldest first; one for each newest log block. */
  readonly turns: string;
  /** string: the last turn as it stood in the mailbox, so that it can be asked again. */
  readonly last: string;
  /** string: what the reply to the head has drawn, for who goes on with it. */
  readonly partial: string;
  known(turn: TurnId): string;
  reply(key: TurnKey): string;
  delivery(key: TurnKey): string;
  stop(turn: TurnId): string;
  /** string: what an undo, regenerate or reset did; `operation` names it once and for all. */
  rewound(operation: string): string;
}

export function conversationKeys(conversation: ConversationId): ConversationKeys {
  const bucket = bucketOf(conversation);
  const prefix = `eyrie:{${bucket}}:${conversation}`;
  return {
    ...bucketKeys(bucket),
    meta: `${prefix}:meta`,
    lease: `${prefix}:lease`,
    mailbox: `${prefix}:mailbox`,
    log: `${prefix}:log`,
    turns: `${prefix}:turns`,
    last: `${prefix}:last`,
    partial: `${prefix}:partial`,
    known: (turn) => `${prefix}:known:${turn}`,
    reply: (key) => `${prefix}:reply:${key.turn}:${key.attempt}`,
    delivery: (key) => `${prefix}:delivery:${key.turn}:${key.attempt}`,
    stop: (turn) => `${prefix}:stop:${turn}`,
    rewound: (operation) => `${prefix}:rewound:${operation}`,
  };
}

/** Glob that matches every truth key of a conversation and no other's: ids hold no glob characters. */
export function conversationPattern(conversation: ConversationId): string {
  return `eyrie:{${bucketOf(conversation)}}:${conversation}:*`;
}

/** The conversation that a truth key belongs to, and the rest of its name; null for other keys. */
export function truthKeyParts(
  key: string,
): { readonly conversation: ConversationId; readonly name: string } | null {
  const [, id = "", name = ""] = /^eyrie:\{\d+\}:([^:]+):(.+)$/.exec(key) ?? [];
  return isConversationId(id) ? { conversation: id, name } : null;
}

export function outboxMember(conversation: ConversationId, key: TurnKey): string {
  return `${conversation} ${key.turn} ${key.attempt}`;
}

/** Truth: written to learn how far the replicas are; beside the key, means nothing. */
export function barrierKey(key: string): string {
  return `eyrie:{${/\{([^}]+)\}/.exec(key)?.[1] ?? ""}}:barrier`;
}

/** Truth, one per platform: live workers by model, expiring by score. */
export function workersKey(model: string): string {
  return `eyrie:workers:${model}`;
}

/** Truth, pub/sub: stop requests, which are rare, so that no turn has to subscribe. */
export const controlChannel = "eyrie:control";

/** Truth: gateway session of a shard, so that a new process can RESUME. */
export function gatewaySessionKey(applicationId: string, shard: number): string {
  return `eyrie:gateway:${applicationId}:${shard}`;
}

/** Truth: fingerprint of the command list that Discord has. */
export function commandsHashKey(applicationId: string): string {
  return `eyrie:gateway:${applicationId}:commands`;
}

/** Truth: hash of the replies that the gateway is showing, by {@link outboxMember}. */
export function openRepliesKey(applicationId: string): string {
  return `eyrie:gateway:${applicationId}:open`;
}

/** Truth: when the channels that a gateway has left may be edited next, for the one that takes over. */
export function gatewayPaceKey(applicationId: string): string {
  return `eyrie:gateway:${applicationId}:pace`;
}

/** Glob over all {@link openRepliesKey}s. */
export const openRepliesPattern = "eyrie:gateway:*:open";

/** Glob over all {@link forksKey}s. */
export const forksPattern = "eyrie:gateway:*:forks";

/** Truth: hash of the forks that the gateway has begun and not finished, by interaction. */
export function forksKey(applicationId: string): string {
  return `eyrie:gateway:${applicationId}:forks`;
}

/** Truth: set of the ids of the operator's keys that records may be sealed with. */
export const keysInUseKey = "eyrie:keys";

/** State, pub/sub: token hints of a conversation. */
export function liveChannel(conversation: ConversationId): string {
  return `eyrie:live:${conversation}`;
}

/** State: zset of the log heads of a conversation's snapshots, by their place in the log. */
export function snapshotIndexKey(conversation: ConversationId): string {
  return `eyrie:{${conversation}}:snapshots`;
}

/** State: hash of one snapshot's chunks, `0`, `1`, …. */
export function snapshotKey(conversation: ConversationId, logHead: string): string {
  return `eyrie:{${conversation}}:snapshot:${logHead}`;
}

/** The conversation and log head of a {@link snapshotKey}; null for other keys. */
export function snapshotKeyParts(
  key: string,
): { readonly conversation: ConversationId; readonly logHead: string } | null {
  const [, id = "", logHead = ""] = /^eyrie:\{([^}]+)\}:snapshot:(\d+:\d+:\d+)$/.exec(key) ?? [];
  return isConversationId(id) ? { conversation: id, logHead } : null;
}

/** BullMQ: prefix and queue name of a model's wakes. */
export const wakePrefix = "{eyrie}";

export function wakeQueueName(model: string): string {
  // BullMQ forbids colons in names, and a model's name may hold anything.
  return `wake.${model.replaceAll(/[^A-Za-z0-9._-]/g, "_")}`;
}
