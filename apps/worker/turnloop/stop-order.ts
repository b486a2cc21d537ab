/**
 * Whether a reply is to stop. Orders are heard as they are given; one from before, or whose message was
 * lost, is looked for at the start and every two seconds.
 */
import { type Clock, every, over } from "#infra/clock/clock.ts";
import { isStopRequested, type StopListener } from "#infra/control/control.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { ConversationId, TurnKey } from "#infra/turn/index.ts";
import { leaseBeatMs } from "../lease/lease.ts";

/** Until a stop is seen whose message was lost. */
const stopLookMs = 2_000;

export interface StopOrder {
  /** Aborted when the order was given. */
  readonly given: AbortSignal;
  /** Resolves when it is known whether it was given before. */
  readonly looked: Promise<void>;
  /** To be called when the reply has ended. */
  ignore(): void;
}

export function listenForStop(
  parts: { readonly truth: ScriptedRedis; readonly stops: StopListener; readonly clock: Clock },
  conversation: ConversationId,
  key: TurnKey,
): StopOrder {
  const { clock, stops, truth } = parts;
  const given = new AbortController();
  const ended = new AbortController();
  const look = async (): Promise<void> => {
    if ((await isStopRequested(truth, conversation, key)) && !ended.signal.aborted)
      given.abort(over);
  };
  const listen = async (): Promise<void> => {
    const unlisten = await stops.listen(conversation, key, () => given.abort(over));
    if (ended.signal.aborted) return unlisten();
    ended.signal.addEventListener("abort", unlisten);
    await look();
  };
  const looked = listen();
  // Who waits for it is told; nobody may.
  looked.catch(() => undefined);
  void every(clock, { ms: stopLookMs, beatMs: leaseBeatMs, until: ended.signal }, () => {
    look().catch(() => undefined);
  });
  return { given: given.signal, looked, ignore: () => ended.abort(over) };
}
