/**
 * Orders to a running turn. For now there is one: stop, which ends the reply with what it has.
 *
 * A stop is both a key (so that a worker that claims the turn later sees it) and a message (so that
 * the worker that runs it now sees it at once). The key ends with the attempt: asked again, the turn
 * runs (regenerate-turn.lua).
 */
import type { Redis } from "ioredis";
import { controlChannel, conversationKeys } from "#infra/redis/keys.ts";
import type { ConversationId, TurnId } from "#infra/turn/index.ts";

const stopKeptSeconds = 15 * 60;

export async function requestStop(
  truth: Redis,
  conversation: ConversationId,
  turn: TurnId,
): Promise<void> {
  await truth.set(conversationKeys(conversation).stop(turn), "1", "EX", stopKeptSeconds);
  await orderStop(truth, conversation, turn);
}

/** To the worker that runs the turn now, and to none that claims it later. */
export async function orderStop(
  truth: Redis,
  conversation: ConversationId,
  turn: TurnId,
): Promise<void> {
  await truth.publish(controlChannel, stopOrder(conversation, turn));
}

function stopOrder(conversation: ConversationId, turn: TurnId): string {
  return `${conversation} ${turn}`;
}

export async function isStopRequested(
  truth: Redis,
  conversation: ConversationId,
  turn: TurnId,
): Promise<boolean> {
  return (await truth.exists(conversationKeys(conversation).stop(turn))) === 1;
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

  /** Calls `stop` when a stop of `turn` is asked for, until the returned function is called. */
  async listen(conversation: ConversationId, turn: TurnId, stop: () => void): Promise<() => void> {
    const order = stopOrder(conversation, turn);
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
