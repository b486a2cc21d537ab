/**
 * What a conversation's state must be: its blocks as they were committed, computed again. A worker
 * that lost every snapshot of a trimmed log goes on from what is left of it, and says so; from then
 * on either past is a right one.
 */
import { decodeBlock, formatLogHead } from "#infra/ledger/tokenlog.ts";
import type { ReplyRecord, Turn } from "#infra/turn/index.ts";
import { answer, emptyState, feed } from "./model.ts";

interface Block {
  readonly startTokens: number;
  readonly end: string;
  readonly tokens: readonly number[];
  /** State after it, from the beginning. */
  readonly after: Float32Array;
}

export class History {
  #blocks: Block[] = [];
  /** Indices of blocks that some worker began with. */
  readonly #starts = new Set<number>();

  /** Null, or what is wrong with a commit; it becomes the newest block all the same. */
  commit(turn: Turn, record: ReplyRecord, block: Buffer | null): string | null {
    const tokens = block === null ? [] : decodeBlock(block).tokens;
    const wrong = this.#judge(turn, record, tokens);
    if (block !== null) {
      const { end, start } = decodeBlock(block);
      const after = Float32Array.from(this.#before(0));
      feed(after, tokens);
      this.#blocks.push({ startTokens: start.tokens, end: formatLogHead(end), tokens, after });
    }
    return wrong;
  }

  /** Turns are taken back until the log ends at `head`. */
  rewind(head: string): void {
    while (this.#blocks.length > 0 && this.#blocks.at(-1)?.end !== head) this.#blocks.pop();
  }

  /** A worker begins with what the log keeps from there. */
  beginAt(startTokens: number): void {
    const index = this.#blocks.findIndex((block) => block.startTokens === startTokens);
    if (index >= 0) this.#starts.add(index);
  }

  #judge(turn: Turn, record: ReplyRecord, tokens: readonly number[]): string | null {
    if (record.end === "failed" || record.replyTokens === 0) {
      return tokens.length === 0 ? null : "a reply without words has a block";
    }
    const cut = record.end === "stop" || record.end === "length" ? null : record.replyTokens;
    const fits = [0, ...this.#starts].some((start) => {
      const right = answer(this.#before(start), turn, cut);
      return right.text === record.text && right.tokens.join() === tokens.join();
    });
    return fits ? null : "it was answered from another state than its log's";
  }

  #before(start: number): Float32Array {
    if (start === 0) return this.#blocks.at(-1)?.after ?? emptyState();
    const state = emptyState();
    for (const { tokens } of this.#blocks.slice(start)) feed(state, tokens);
    return state;
  }
}
