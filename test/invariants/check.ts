/**
 * All checkers at once, and how their evidence is got from real servers and the Discord double.
 *
 * A checker is a pure function from evidence to violations. Use `checkAll` in the middle of anything;
 * with `quiet` only when every turn had time to be answered and shown.
 */
import type { Redis } from "ioredis";
import type { Translator } from "#infra/i18n/i18n.ts";
import { type ConversationId, type TurnId, turnId } from "#infra/turn/index.ts";
import type { Channel, DiscordDouble, Message } from "#test/doubles/discord/index.ts";
import { type Expected, type ShownMessage, shownOnce } from "./discord.ts";
import { type Dump, dumpRedis } from "./dump.ts";
import { expectedParts } from "./expected.ts";
import { logsAreTurns, logsWhole } from "./log.ts";
import { pictureOf } from "./picture.ts";
import { bounded, settled } from "./quiet.ts";
import { marksStayHome, ownOnly } from "./separate.ts";
import { endsOnce, findable, inOrder, nobodyElses, numbered, type SaidTurn } from "./turns.ts";
import type { Violation } from "./violation.ts";

export interface Evidence {
  readonly truth: Dump;
  readonly state: Dump;
  readonly said: readonly SaidTurn[];
  readonly shown: readonly ShownMessage[];
  readonly expected: Expected;
  /** Everything had time to finish. */
  readonly quiet: boolean;
  /** For each conversation a word that is said in no other. */
  readonly marks: ReadonlyMap<ConversationId, string>;
}

export function checkAll(evidence: Evidence): Violation[] {
  const { expected, marks, quiet, said, shown, state, truth } = evidence;
  const picture = pictureOf(truth);
  return [
    ...picture.refused,
    ...endsOnce(picture, said),
    ...nobodyElses(picture, said),
    ...inOrder(picture, said),
    ...numbered(picture),
    ...findable(picture),
    ...logsWhole(picture),
    ...logsAreTurns(picture),
    ...shownOnce(picture, shown, expected),
    ...ownOnly(picture, truth),
    ...marksStayHome(marks, { dumps: [truth, state], shown }),
    ...bounded(picture),
    ...(quiet ? settled(picture) : []),
  ];
}

/** Reads the evidence of a real platform. Nothing may change meanwhile that must agree. */
export async function collect(
  redis: { readonly truth: Redis; readonly state: Redis },
  discord: { readonly double: DiscordDouble; readonly channels: readonly Channel[] },
  story: Pick<Evidence, "marks" | "quiet" | "said"> & { readonly translator: Translator },
): Promise<Evidence> {
  const { translator, ...rest } = story;
  return {
    ...rest,
    truth: await dumpRedis(redis.truth),
    state: await dumpRedis(redis.state),
    shown: discord.channels.flatMap((channel) => shownIn(discord.double, channel)),
    expected: expectedParts(translator),
  };
}

/** The bot's messages in a channel that everybody can see, oldest first. */
export function shownIn(double: DiscordDouble, channel: Channel): ShownMessage[] {
  const visible = double.botMessages(channel).filter((message) => message.ephemeralFor === null);
  return visible.map((message) => ({
    id: message.id,
    channelId: message.channelId,
    content: message.wire.content,
    answers: answeredBy(message),
  }));
}

/** Further parts of the answer to a command refer to its first one. */
function answeredBy(message: Message): TurnId | null {
  if (message.fromInteraction) {
    const { interaction_metadata: asked } = message.wire as {
      interaction_metadata?: { id: string };
    };
    return asked === undefined ? null : turnId(asked.id);
  }
  const { replyTo } = message;
  if (replyTo === null) return null;
  return replyTo.fromInteraction ? answeredBy(replyTo) : turnId(replyTo.id);
}
