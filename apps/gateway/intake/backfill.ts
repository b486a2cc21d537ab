/**
 * What was said in a community while no session of ours was there to be told: Discord forgets a
 * session minutes after its connection, or when it likes to (opcode 9 `false`).
 *
 * GUILD_CREATE names each channel's last message, so only channels that have news are read. A message
 * that was handled after all is known by its id. Direct messages, and threads that are not active any
 * more, are not among a community's channels and stay unread. Best effort: a channel that cannot be
 * read is passed over, since its history may be closed to us.
 */
import {
  type APIMessage,
  type GatewayGuildCreateDispatchData,
  type GatewayMessageCreateDispatchData,
  makeURLSearchParams,
  type REST,
  Routes,
} from "discord.js";
import type { Clock } from "#infra/clock/clock.ts";
import type { Log } from "#infra/telemetry/log.ts";
import { failureCode } from "../render/failure.ts";

/** Discord gives a hundred at a time; of a flood the oldest are looked at. */
const pageMessages = 100;
const pagesMax = 5;
/** Who asked longer ago no longer waits for an answer. */
const missedMsMax = 60 * 60_000;
const discordEpochMs = 1_420_070_400_000n;

export interface BackfillParts {
  readonly rest: REST;
  readonly log: Log;
  readonly clock: Clock;
}

/** Messages newer than `since`, channel by channel, oldest first, as their event would have told them. */
export async function* missedMessages(
  community: GatewayGuildCreateDispatchData,
  since: string,
  parts: BackfillParts,
): AsyncGenerator<GatewayMessageCreateDispatchData> {
  const horizon = (BigInt(parts.clock.nowMs() - missedMsMax) - discordEpochMs) << 22n;
  const from = BigInt(since) > horizon ? BigInt(since) : horizon;
  for (const channel of [...community.channels, ...community.threads]) {
    const last = "last_message_id" in channel ? channel.last_message_id : null;
    if (typeof last !== "string" || BigInt(last) <= from) continue;
    for await (const message of messagesAfter(channel.id, String(from), parts)) {
      yield { ...message, guild_id: community.id };
    }
  }
}

async function* messagesAfter(
  channelId: string,
  afterId: string,
  { rest, log }: BackfillParts,
): AsyncGenerator<APIMessage> {
  let after = afterId;
  for (let page = 0; page < pagesMax; page++) {
    const query = makeURLSearchParams({ after, limit: pageMessages });
    let messages: APIMessage[];
    try {
      messages = (await rest.get(Routes.channelMessages(channelId), { query })) as APIMessage[];
    } catch (error) {
      log.warn("missed messages not readable", { channel: channelId, code: failureCode(error) });
      return;
    }
    messages.sort((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1));
    yield* messages;
    after = messages.at(-1)?.id ?? after;
    if (messages.length < pageMessages) return;
  }
}
