/** Both Redis of the running platform, for verbs that work on what is stored. */
import type { Config } from "#infra/config/config.ts";
import { Conversations } from "#infra/conversation/conversations.ts";
import { connectRedis } from "#infra/redis/client.ts";
import { configuredRecords, openRecords, type Records } from "#infra/redis/records.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { WakeBell } from "#infra/wake/wake.ts";
import { findPlatform } from "./platform.ts";

export interface OpenStores {
  readonly truth: ScriptedRedis;
  readonly state: ScriptedRedis;
  readonly records: Records;
  readonly conversations: Conversations;
}

/**
 * Calls `work` with them and closes them. `anyKeys`: also where keys are in use that the ring does not
 * hold; who works on the keys themselves must get that far.
 */
export async function withStores(
  config: Config,
  work: (stores: OpenStores) => Promise<void>,
  options: { readonly anyKeys?: true } = {},
): Promise<void> {
  const { stateUrl, truthUrl } = findPlatform(config);
  await using stack = new AsyncDisposableStack();
  const truth = await connectRedis(truthUrl);
  stack.defer(() => truth.disconnect());
  const records =
    options.anyKeys === true ? configuredRecords(config) : await openRecords(config, truth);
  const state = await connectRedis(stateUrl);
  stack.defer(() => state.disconnect());
  const bell = new WakeBell(truth);
  stack.defer(async () => bell.close());
  const conversations = new Conversations({ truth, state }, bell, records);
  await work({ truth, state, records, conversations });
}
