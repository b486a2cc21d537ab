/** A conversation as it stood at one moment: what whoever wants to change it has to know. */
import { conversationKeys } from "#infra/redis/keys.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { ConversationId } from "#infra/turn/index.ts";

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
}

export async function readStanding(
  truth: ScriptedRedis,
  conversation: ConversationId,
): Promise<Standing> {
  const keys = conversationKeys(conversation);
  const reply = await truth.readConversationBuffer(keys.meta, keys.log, keys.turns, keys.last);
  const [exists, logHead, logStart, model, community, last, blocks, turns] = reply;
  return {
    exists: exists === 1,
    logHead: logHead.toString(),
    logStart: logStart.toString(),
    model: model.toString(),
    community: community.toString(),
    last: last.length === 0 ? null : last.toString(),
    blocks,
    turns,
  };
}
