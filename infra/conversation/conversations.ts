/**
 * What can be done to a whole conversation: undo, regenerate, reset, fork, export, delete. Puts the
 * rooms together that each hold a part of it; gateway and command line call nothing else for these.
 *
 * Order everywhere: truth first, then what can be recomputed. Every `operation` names one order of
 * one person (an interaction's id); the same order again finds itself done.
 */
import { randomBytes } from "node:crypto";
import { History, type RegenerateOutcome, type Rewound } from "#infra/ledger/history.ts";
import { Planting } from "#infra/ledger/planting.ts";
import { LivePublisher } from "#infra/live/live.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { plainRecords, type Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import type { CommunityId, ConversationId, TurnKey, UserId } from "#infra/turn/index.ts";
import type { WakeBell } from "#infra/wake/wake.ts";
import { conversationsOf, idleConversations } from "./active.ts";
import { deleteConversation, type DeleteOptions, type DeleteParts } from "./delete.ts";
import { type Export, exportConversation } from "./export.ts";
import { type Forgotten, forgetUser } from "./forget-user.ts";
import { conversationsWith } from "./people.ts";

/** Snapshots may go between the look at the log and the copy; the next look finds those that stay. */
const forkTriesMax = 5;

export type ForkOutcome =
  | { readonly kind: "forked" }
  /** Nothing has been said there. */
  | { readonly kind: "empty" }
  /** The new conversation exists and is not the work of this operation. */
  | { readonly kind: "taken" };

/** A name for an order that no interaction carries. */
export function newOperation(): string {
  return randomBytes(12).toString("hex");
}

export class Conversations {
  readonly #truth: ScriptedRedis;
  readonly #state: ScriptedRedis;
  readonly #records: Records;
  readonly #bell: Pick<WakeBell, "forget">;
  readonly #history: History;
  readonly #planting: Planting;
  readonly #snapshots: SnapshotStore;

  constructor(
    redis: { readonly truth: ScriptedRedis; readonly state: ScriptedRedis },
    bell: Pick<WakeBell, "forget">,
    records: Records = plainRecords,
  ) {
    this.#records = records;
    this.#truth = redis.truth;
    this.#state = redis.state;
    this.#bell = bell;
    this.#history = new History(redis.truth, records);
    this.#planting = new Planting(redis.truth, records);
    this.#snapshots = new SnapshotStore(redis.state, records);
  }

  /** Takes back the last `count` turns, or as many as can be; null when there is none. */
  async undo(
    conversation: ConversationId,
    count: number,
    operation: string = newOperation(),
  ): Promise<Rewound | null> {
    const rewound = await this.#history.undo(conversation, count, operation);
    if (rewound !== null) await this.#snapshots.drop(conversation, rewound.forgotten);
    return rewound;
  }

  /** The last turn is answered again, as its next attempt; the caller rings the bell. */
  async regenerate(
    conversation: ConversationId,
    key: TurnKey,
    operation: string = newOperation(),
  ): Promise<RegenerateOutcome> {
    const outcome = await this.#history.regenerate(conversation, key, operation);
    if (outcome.kind === "waiting") {
      await this.#snapshots.drop(conversation, outcome.rewound.forgotten);
    }
    return outcome;
  }

  /** Forgets everything that was said; returns how many tokens that were. */
  async reset(conversation: ConversationId, operation: string = newOperation()): Promise<number> {
    const rewound = await this.#history.reset(conversation, operation);
    if (rewound === null) return 0;
    const heads = await this.#snapshots.heads(conversation);
    const epoch = epochOf(rewound.to);
    await this.#snapshots.drop(
      conversation,
      heads.filter((head) => epochOf(head) < epoch),
    );
    return rewound.tokens;
  }

  /**
   * Begins `to` with everything that `from` remembers. Costs the copy of a few states and of the
   * kept log, however long the conversation is. Three steps, each of which may be done again: the
   * snapshots, which nobody reads before there is a log, then the log, in one atom, then the
   * snapshots are made to stay. Cut off before its log is there, a fork leaves nothing after a minute.
   */
  async fork(
    from: ConversationId,
    to: ConversationId,
    operation: string = newOperation(),
  ): Promise<ForkOutcome> {
    for (let tries = 1; ; tries++) {
      const there = await this.#planting.whose(to);
      if (there === operation) return this.#forked(to, true);
      if (there !== null) return { kind: "taken" };
      const cutting = await this.#planting.cut(from);
      if (cutting === null) return { kind: "empty" };
      const heads = await this.#snapshots.heads(from);
      const wanted = heads.filter((head) => cutting.heads.has(head));
      const copied = await this.#snapshots.copy(from, to, wanted);
      const reaches =
        cutting.whole || copied.some((head) => tokensOf(head) <= cutting.horizonTokens);
      if (!reaches && tries < forkTriesMax) continue;
      return this.#forked(to, await this.#planting.plant(to, cutting, operation));
    }
  }

  /** What lies on its log stays, whether this run copied it, one that was cut off, or one of two that met. */
  async #forked(to: ConversationId, ours: boolean): Promise<ForkOutcome> {
    const onLog = (await this.#planting.cut(to))?.heads;
    for (const head of await this.#snapshots.heads(to)) {
      if (onLog?.has(head) === true) await this.#snapshots.confirm(to, head);
    }
    return { kind: ours ? "forked" : "taken" };
  }

  async export(conversation: ConversationId): Promise<Export> {
    const stores = { truth: this.#truth, state: this.#state, records: this.#records };
    return exportConversation(stores, conversation);
  }

  /** Deletes everything of it; returns the number of keys that truth held. */
  async delete(conversation: ConversationId, options: DeleteOptions = {}): Promise<number> {
    return deleteConversation(this.#parts(), conversation, options);
  }

  /** Takes one person out of it, and tells how. */
  async forgetUser(conversation: ConversationId, user: UserId): Promise<Forgotten> {
    return forgetUser({ ...this.#parts(), history: this.#history }, conversation, user);
  }

  /** The conversations that hold something of a person. */
  ofUser(user: UserId): AsyncGenerator<ConversationId> {
    return conversationsWith({ truth: this.#truth, records: this.#records }, user);
  }

  #parts(): DeleteParts {
    return {
      truth: this.#truth,
      records: this.#records,
      mailbox: new Mailbox(this.#truth, this.#records),
      snapshots: this.#snapshots,
      live: new LivePublisher(this.#state, this.#records),
      bell: this.#bell,
    };
  }

  /** Deletes the conversations without a turn for `idleMs`; returns how many. */
  async deleteIdle(idleMs: number): Promise<number> {
    let deleted = 0;
    for await (const conversation of idleConversations(this.#truth, idleMs)) {
      if ((await this.delete(conversation, { idleForMs: idleMs })) > 0) deleted++;
    }
    return deleted;
  }

  /** The conversations of a community, its threads' included. */
  ofCommunity(community: CommunityId): AsyncGenerator<ConversationId> {
    return conversationsOf(this.#truth, community);
  }
}

function epochOf(logHead: string): number {
  return Number(logHead.split(":")[0]);
}

function tokensOf(logHead: string): number {
  return Number(logHead.split(":")[1]);
}
