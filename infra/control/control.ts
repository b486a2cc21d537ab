/**
 * Orders to a running turn. For now there is one: stop, which ends the reply with what it has.
 *
 * A stop is both a key (so that a worker that claims the turn later, or missed the message, sees it) and
 * a message (so that the worker that runs it now sees it at once). It is for one attempt: asked again,
 * the turn runs.
 */
import type { Redis } from "ioredis";
import { controlChannel, conversationKeys } from "#infra/redis/keys.ts";
import type { ConversationId, TurnKey } from "#infra/turn/index.ts";

const stopKeptSeconds = 15 * 60;

export async function requestStop(
  truth: Redis,
  conversation: ConversationId,
  key: TurnKey,
): Promise<void> {
  const name = conversationKeys(conversation).stop(key.turn);
  await truth.set(name, String(key.attempt), "EX", stopKeptSeconds);
  await orderStop(truth, conversation, key);
}

/** To the worker that runs the turn now, and to none that claims it later. */
export async function orderStop(
  truth: Redis,
  conversation: ConversationId,
  key: TurnKey,
): Promise<void> {
  await truth.publish(controlChannel, stopOrder(conversation, key));
}

function stopOrder(conversation: ConversationId, { attempt, turn }: TurnKey): string {
  return `${conversation} ${turn} ${attempt}`;
}

export async function isStopRequested(
  truth: Redis,
  conversation: ConversationId,
  key: TurnKey,
): Promise<boolean> {
  const stopped = await truth.get(conversationKeys(conversation).stop(key.turn));
  return stopped === String(key.attempt);
}

/** One subscribing connection that tells running turns to stop. */
export class StopListener {
  readonly #connection: Redis;
  readonly #listeners = new Map<string, () => void>();
  #subscribed: Promise<unknown> | null = null;

  /** `connection` must be used for nothing else. */
  constructor(connection: Redis) {
    this.#connection = connection;
    connection.on("message", (_: string, order: string) => this.#listeners.get(order)?.());
  }

  /** Calls `stop` when a stop of this attempt is asked for, until the returned function is called. */
  async listen(conversation: ConversationId, key: TurnKey, stop: () => void): Promise<() => void> {
    const order = stopOrder(conversation, key);
    this.#listeners.set(order, stop);
    await this.#subscribe();
    return () => this.#listeners.delete(order);
  }

  async #subscribe(): Promise<void> {
    this.#subscribed ??= this.#connection.subscribe(controlChannel);
    try {
      await this.#subscribed;
    } catch (error) {
      this.#subscribed = null;
      throw error;
    }
  }
}
