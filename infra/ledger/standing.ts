/** A conversation as it stood at one moment: what whoever wants to change it has to know. */
import { conversationKeys } from "#infra/redis/keys.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { type SpeakerField, speakerPrefix } from "./speakers.ts";

export interface Standing {
  readonly exists: boolean;
  readonly logHead: string;
  /** `<tokens>:<crc>` where the kept log begins. */
  readonly logStart: string;
  readonly model: string;
  /** "" outside of communities. */
  readonly community: string;
  /** As stored; null when there is none. */
  readonly last: string | null;
  /** As stored, oldest first. */
  readonly blocks: readonly Buffer[];
  readonly turns: readonly Buffer[];
  /** Who has spoken, as stored. */
  readonly speakers: readonly SpeakerField[];
}

export async function readStanding(
  truth: ScriptedRedis,
  conversation: ConversationId,
): Promise<Standing> {
  const keys = conversationKeys(conversation);
  const reply = await truth.readConversationBuffer(keys.meta, keys.log, keys.turns, keys.last);
  const [exists, logHead, logStart, model, community, last, blocks, turns, meta] = reply;
  return {
    exists: exists === 1,
    logHead: logHead.toString(),
    logStart: logStart.toString(),
    model: model.toString(),
    community: community.toString(),
    last: last.length === 0 ? null : last.toString(),
    blocks,
    turns,
    speakers: speakersIn(meta),
  };
}

/** Fields and values in turn, as Redis lists a hash. */
function speakersIn(meta: readonly Buffer[]): SpeakerField[] {
  return meta.flatMap((field, index) => {
    const value = meta[index + 1];
    const name = field.toString();
    const isSpeaker = index % 2 === 0 && value !== undefined && name.startsWith(speakerPrefix);
    return isSpeaker ? [{ field: name, value }] : [];
  });
}
