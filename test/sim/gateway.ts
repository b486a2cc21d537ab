/** A gateway of the platform: the shipped intake and render between simulated servers and Discord. */
import { Registry } from "prom-client";
import { Buttons } from "#apps/gateway/commands/buttons.ts";
import { Forks } from "#apps/gateway/commands/forks.ts";
import { Interactions } from "#apps/gateway/commands/interactions.ts";
import { Intake } from "#apps/gateway/intake/intake.ts";
import { Lanes } from "#apps/gateway/intake/lanes.ts";
import { Locales } from "#apps/gateway/intake/locales.ts";
import { NoticeLimit } from "#apps/gateway/intake/notice-limit.ts";
import { Tail } from "#apps/gateway/intake/tail.ts";
import { gatewayMetrics } from "#apps/gateway/metrics.ts";
import { Pacer } from "#apps/gateway/render/pacer.ts";
import { Renders } from "#apps/gateway/render/renders.ts";
import { Conversations } from "#infra/conversation/conversations.ts";
import { OpenReplies } from "#infra/discord/open-replies.ts";
import { PendingForks } from "#infra/discord/pending-forks.ts";
import { SessionStore } from "#infra/discord/session-store.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { LiveSubscriber } from "#infra/live/live.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { Log } from "#infra/telemetry/log.ts";
import { applicationId, selfId, type SimDiscord } from "./discord.ts";
import { modelName } from "./model.ts";
import type { SimProcess } from "./process.ts";
import type { SimShard } from "./shard.ts";
import type { SimWakes } from "./wakes.ts";

/** Tokens; replies are short so that many turns fit into a run. */
const replyTokensMax = 16;
const metrics = gatewayMetrics(new Registry(), { openReplies: () => 0 });

export interface GatewayParts {
  readonly process: SimProcess;
  readonly truth: ScriptedRedis;
  readonly state: ScriptedRedis;
  readonly listening: ScriptedRedis;
  readonly wakes: SimWakes;
  readonly discord: SimDiscord;
  readonly shard: SimShard;
  readonly translator: Translator;
  readonly log: Log;
}

/** Starts as `apps/gateway/gateway.ts` does: first what was being shown, then what is said now. */
export async function startSimGateway(parts: GatewayParts): Promise<void> {
  const { discord, listening, log, process, shard, state, translator, truth, wakes } = parts;
  const { clock } = process;
  const bell = wakes.bell(process);
  const conversations = new Conversations({ truth, state }, bell);
  const rest = discord.rest(process);
  const buttons = new Buttons("token");
  const pacer = new Pacer({ clock, streams: () => renders.size });
  const shared = { rest, selfId, truth, translator, log, metrics, clock, conversations, buttons };
  const replication = { confirms: async () => true };
  const rooms = { mailbox: new Mailbox(truth), ledger: new Ledger(truth), replication, bell };
  const tail = new Tail(clock);
  const renders = new Renders({
    ...shared,
    ...rooms,
    live: new LiveSubscriber(listening),
    openReplies: new OpenReplies(truth, applicationId),
    pacer,
    tail,
  });
  const pendingForks = new PendingForks(truth, applicationId);
  const submitting = {
    ...shared,
    ...rooms,
    renders,
    tail,
    lanes: new Lanes(),
    locales: new Locales(translator, "en-US"),
    forks: new Forks({ ...shared, ...rooms, pendingForks }),
    model: { name: modelName, sampling },
    replyTokensMax,
  };
  const intake = new Intake({
    ...submitting,
    notices: new NoticeLimit(clock),
    interactions: new Interactions(submitting),
  });
  const sessions = new SessionStore(truth, { applicationId, clock, onError: () => undefined });
  await renders.start();
  await shard.connect({ process, sessions, handle: (event) => intake.handle(event) });
}

const sampling = {
  temperature: 1,
  topP: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  penaltyDecay: 1,
};
