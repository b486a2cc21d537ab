/**
 * One side of a conversation from the terminal: the same mailbox, wake, worker, live and ledger as a
 * Discord message, only that the reply is printed instead of edited into a channel.
 */
import { randomInt } from "node:crypto";
import type { Redis } from "ioredis";
import type { Config } from "#infra/config/config.ts";
import { requestStop } from "#infra/control/control.ts";
import { Conversations } from "#infra/conversation/conversations.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { LiveSubscriber } from "#infra/live/live.ts";
import { addFrame, emptyView } from "#infra/live/view.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { connectRedis, duplicateRedis } from "#infra/redis/client.ts";
import { openRecords, type Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import {
  type ConversationId,
  normaliseText,
  type ReplyRecord,
  type Sampling,
  snowflake,
  type Turn,
  type TurnId,
  userId,
} from "#infra/turn/index.ts";
import { WakeBell } from "#infra/wake/wake.ts";
import { liveWorkers } from "#infra/wake/workers.ts";

/** Live frames may be lost; the ledger is asked this often anyway. */
const ledgerPollMs = 250;
/** The person at this terminal. */
const terminalUser = userId("0");

export interface DialogueOptions {
  readonly conversation: ConversationId;
  readonly model: string;
  readonly sampling: Sampling;
  readonly maxTokens: number;
  readonly locale: string;
}

export class Dialogue {
  readonly #truth: ScriptedRedis;
  readonly #subscriber: LiveSubscriber;
  readonly #connections: { disconnect(): void }[];
  readonly #mailbox: Mailbox;
  readonly #ledger: Ledger;
  readonly #bell: WakeBell;
  readonly #conversations: Conversations;
  readonly #options: DialogueOptions;

  private constructor(
    redis: {
      readonly truth: ScriptedRedis;
      readonly state: ScriptedRedis;
      readonly records: Records;
    },
    wiring: {
      readonly connections: { disconnect(): void }[];
      readonly subscriber: LiveSubscriber;
      readonly options: DialogueOptions;
    },
  ) {
    const { records, truth } = redis;
    this.#truth = truth;
    this.#subscriber = wiring.subscriber;
    this.#connections = wiring.connections;
    this.#mailbox = new Mailbox(truth, records);
    this.#ledger = new Ledger(truth, records);
    this.#bell = new WakeBell(truth);
    this.#conversations = new Conversations(redis, this.#bell, records);
    this.#options = wiring.options;
  }

  static async open(
    config: Config,
    addresses: { readonly truthUrl: string; readonly stateUrl: string },
    options: DialogueOptions,
  ): Promise<Dialogue> {
    const connections: Redis[] = [];
    try {
      const truth = await connectRedis(addresses.truthUrl);
      connections.push(truth);
      const records = await openRecords(config, truth);
      const state = await connectRedis(addresses.stateUrl);
      connections.push(state);
      const listening = await duplicateRedis(state);
      connections.push(listening);
      const subscriber = new LiveSubscriber(listening, records);
      return new Dialogue({ truth, state, records }, { connections, subscriber, options });
    } catch (error) {
      for (const connection of connections) connection.disconnect();
      throw error;
    }
  }

  /**
   * Says `raw` and follows the reply: `show` gets the text so far, the return value is the ledger's
   * record. Throws MESSAGE_EMPTY, MAILBOX_FULL, WORKER_MISSING, or the code the turn failed with.
   */
  async say(
    raw: string,
    follow: { readonly show: (text: string) => void; readonly started?: (turn: TurnId) => void },
  ): Promise<ReplyRecord> {
    const turn = this.#turn(raw);
    const { promise: done, resolve: ring } = Promise.withResolvers<void>();
    let view = emptyView;
    const unsubscribe = await this.#subscriber.subscribe(turn.conversation, (frame) => {
      if (frame.turn !== turn.id) return;
      if (frame.kind === "done") return ring();
      const next = addFrame(view, frame);
      if (next !== view) follow.show((view = next).text);
    });
    try {
      await this.#append(turn);
      follow.started?.(turn.id);
      const record = await this.#await(turn, done);
      if (record.code !== null) throw new EyrieError(record.code as ErrorCode);
      follow.show(record.text);
      return record;
    } finally {
      await unsubscribe();
    }
  }

  async stop(turn: TurnId): Promise<void> {
    await requestStop(this.#truth, this.#options.conversation, { turn, attempt: 0 });
  }

  /** Forgets the conversation; returns the number of tokens it held. */
  async reset(): Promise<number> {
    return this.#conversations.reset(this.#options.conversation);
  }

  /** Takes back what was said last; returns how many exchanges. */
  async undo(count: number): Promise<number> {
    const rewound = await this.#conversations.undo(this.#options.conversation, count);
    return rewound?.turns.length ?? 0;
  }

  async close(): Promise<void> {
    await this.#bell.close();
    for (const connection of this.#connections) connection.disconnect();
  }

  #turn(raw: string): Turn {
    const text = normaliseText(raw);
    if (text === "") throw new EyrieError("MESSAGE_EMPTY");
    const { conversation, model, sampling, maxTokens, locale } = this.#options;
    return {
      id: snowflake(Date.now(), randomInt(2 ** 22)),
      conversation,
      community: null,
      author: terminalUser,
      text,
      locale,
      origin: { kind: "cli" },
      model,
      attempt: 0,
      receivedAtMs: Date.now(),
      maxTokens,
      sampling,
    };
  }

  async #append(turn: Turn): Promise<void> {
    const workers = await liveWorkers(this.#truth, turn.model);
    if (workers.length === 0) throw new EyrieError("WORKER_MISSING", { model: turn.model });
    const appended = await this.#mailbox.append(turn);
    if (appended.kind === "full") throw new EyrieError("MAILBOX_FULL");
    if (appended.kind === "refused") throw new EyrieError("BUSY_TRY_LATER");
    const { conversation, id: headTurnId, model } = turn;
    await this.#bell.ring({ conversation, headTurnId, model, traceId: headTurnId });
  }

  async #await(turn: Turn, done: Promise<void>): Promise<ReplyRecord> {
    const key = { turn: turn.id, attempt: turn.attempt };
    for (;;) {
      const poll = new Promise<void>((resolve) => setTimeout(resolve, ledgerPollMs));
      await Promise.race([done, poll]);
      const record = await this.#ledger.reply(turn.conversation, key);
      if (record !== null) return record;
    }
  }
}
