/**
 * The replies that the gateway is showing, kept in truth from the moment their turn is queued until
 * they are delivered, so that a new process goes on in the same messages.
 */
import type { Redis } from "ioredis";
import * as z from "zod";
import type { EyrieError } from "#infra/errors/error.ts";
import { gatewayPaceKey, openRepliesKey, outboxMember } from "#infra/redis/keys.ts";
import { openReplyPlace } from "#infra/redis/places.ts";
import { plainRecords, readableOf, type Records } from "#infra/redis/records.ts";
import type { ConversationId, Origin, Turn, TurnKey, UserId } from "#infra/turn/index.ts";

/** Where a reply belongs and in which language its buttons and errors are. */
export interface ReplyAddress {
  readonly conversation: ConversationId;
  readonly key: TurnKey;
  readonly locale: string;
  readonly origin: Origin;
}

export interface OpenReply extends ReplyAddress {
  /** Who asked, and so who may stop it. */
  readonly author: UserId;
  /** Nobody will read it (trigger deleted, channel gone): deliver it nowhere. */
  readonly abandoned: boolean;
}

/** Channel → when its next edit is due, Unix ms. */
export type Pace = ReadonlyMap<string, number>;

/** A pace that is older means nothing any more: everything is due. */
const paceSeconds = 60;
const paceSchema = z.record(z.string(), z.number());

export function openReplyOf(turn: Turn): OpenReply {
  return {
    conversation: turn.conversation,
    key: { turn: turn.id, attempt: turn.attempt },
    author: turn.author,
    locale: turn.locale,
    origin: turn.origin,
    abandoned: false,
  };
}

export class OpenReplies {
  readonly #truth: Redis;
  readonly #key: string;
  readonly #paceKey: string;
  readonly #records: Records;

  constructor(truth: Redis, applicationId: string, records: Records = plainRecords) {
    this.#truth = truth;
    this.#records = records;
    this.#key = openRepliesKey(applicationId);
    this.#paceKey = gatewayPaceKey(applicationId);
  }

  async save(reply: OpenReply): Promise<void> {
    const field = outboxMember(reply.conversation, reply.key);
    const place = openReplyPlace(this.#key, field);
    await this.#truth.hset(this.#key, field, this.#records.encode(reply, place));
  }

  async remove(conversation: ConversationId, key: TurnKey): Promise<void> {
    await this.#truth.hdel(this.#key, outboxMember(conversation, key));
  }

  /** Leaves behind when channels are due to be edited, Unix ms. */
  async leavePace(due: Pace): Promise<void> {
    const pace = JSON.stringify(Object.fromEntries(due));
    await this.#truth.set(this.#paceKey, pace, "EX", paceSeconds);
  }

  /** What {@link leavePace} left; empty after a crash. */
  async takePace(): Promise<Pace> {
    const pace = (await this.#truth.getdel(this.#paceKey)) ?? "{}";
    try {
      return new Map(Object.entries(paceSchema.parse(JSON.parse(pace))));
    } catch {
      // As good as none.
      return new Map();
    }
  }

  /** Passes over records that have rotted, and tells of each. */
  async all(refused: (error: EyrieError) => void): Promise<OpenReply[]> {
    const records = await this.#truth.hgetall(this.#key);
    return readableOf(Object.entries(records), refused, ([field, record]) => {
      const place = openReplyPlace(this.#key, field);
      return this.#records.decode(record, place) as OpenReply;
    });
  }
}
