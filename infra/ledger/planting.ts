/**
 * Beginning a conversation with the history of another one. The copy is whole by itself: it holds
 * the kept log and the turns that can be taken back, so both sides go their own ways from then on.
 */
import { conversationKeys } from "#infra/redis/keys.ts";
import { blockPlace, pastTurnPlace } from "#infra/redis/places.ts";
import { plainRecords, type Records } from "#infra/redis/records.ts";
import { refusal, type ScriptedRedis } from "#infra/redis/scripts.ts";
import type { ConversationId } from "#infra/turn/index.ts";
import { decodePastTurn } from "./past-turn.ts";
import { earliest, type Speaker, speakerField, speakerOf } from "./speakers.ts";
import { readStanding, type Standing } from "./standing.ts";
import { decodeLog, formatLogHead, parseLogHead } from "./tokenlog.ts";

/** What a conversation has to hand on, as it stood at one moment; blocks and turns are opened. */
export interface Cutting extends Standing {
  readonly spoke: readonly Speaker[];
  readonly source: ConversationId;
  /** Every head on the kept log; a snapshot elsewhere is of no use. */
  readonly heads: ReadonlySet<string>;
  /** The log reaches back to its beginning, so no snapshot is needed. */
  readonly whole: boolean;
  /** Tokens before the oldest turn that can be taken back: a snapshot there or before is needed. */
  readonly horizonTokens: number;
}

export class Planting {
  readonly #truth: ScriptedRedis;
  readonly #records: Records;

  constructor(truth: ScriptedRedis, records: Records = plainRecords) {
    this.#truth = truth;
    this.#records = records;
  }

  /** Null when nothing has been said there. Every block is checked: rot is not handed on. */
  async cut(conversation: ConversationId): Promise<Cutting | null> {
    const standing = await readStanding(this.#truth, conversation);
    const head = parseLogHead(standing.logHead);
    if (head.tokens === 0) return null;
    const blocks = this.#records.openAll(standing.blocks, blockPlace(conversation));
    const turns = this.#records.openAll(standing.turns, pastTurnPlace(conversation));
    const decoded = decodeLog(blocks, head);
    const heads = new Set([head, ...decoded.map(({ start }) => start)].map(formatLogHead));
    const whole = decoded[0]?.start.tokens === 0;
    const spoke = earliest(
      standing.speakers.map((one) => speakerOf(conversation, one, this.#records)),
    );
    const [oldest] = turns;
    const horizonTokens = (oldest === undefined ? head : decodePastTurn(oldest).from).tokens;
    const source = conversation;
    return { ...standing, blocks, turns, spoke, source, heads, whole, horizonTokens };
  }

  /** The operation that planted this conversation, "" for one that grew by itself, null for none. */
  async whose(conversation: ConversationId): Promise<string | null> {
    const { meta } = conversationKeys(conversation);
    const planted = await this.#truth.hget(meta, "planted");
    if (planted !== null) return planted;
    return (await this.#truth.exists(meta)) === 1 ? "" : null;
  }

  /** False when the conversation exists and is not the work of this operation. */
  async plant(conversation: ConversationId, cutting: Cutting, operation: string): Promise<boolean> {
    const keys = conversationKeys(conversation);
    const result = await this.#truth.plantConversation(
      keys.meta,
      keys.log,
      keys.turns,
      keys.active,
      cutting.logHead,
      cutting.logStart,
      cutting.model,
      operation,
      conversation,
      cutting.community,
      cutting.source,
      cutting.blocks.length,
      cutting.turns.length,
      ...cutting.blocks.map((block) => this.#records.seal(block, blockPlace(conversation))),
      ...cutting.turns.map((turn) => this.#records.seal(turn, pastTurnPlace(conversation))),
      ...cutting.spoke.flatMap((one) => {
        const { field, value } = speakerField(conversation, one, this.#records);
        return [field, value];
      }),
    );
    return result !== refusal.exists;
  }
}
