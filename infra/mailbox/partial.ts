/**
 * What a reply had drawn when its worker was asked to end, or a second at most before it died, kept
 * beside the head of the mailbox: the next worker feeds these tokens and goes on, so nobody sees a word
 * again or another one in its place.
 *
 * It is a hint of the same worth as the numbers it came from: one that is damaged, or belongs to another
 * attempt, another place in the log or other weights, is passed over and the turn answered afresh.
 */
import { EyrieError } from "#infra/errors/error.ts";
import { partialPlace } from "#infra/redis/places.ts";
import type { Records } from "#infra/redis/records.ts";
import type { ConversationId, TurnKey } from "#infra/turn/index.ts";

export interface Drawn {
  /** Of the model that drew them; ids mean nothing to another. */
  readonly fingerprint: string;
  /** In the order they were drawn. */
  readonly tokens: readonly number[];
}

export interface PartialReply extends TurnKey, Drawn {
  /** Log head that the turn started from. */
  readonly logHead: string;
}

/** The drawn tokens if the record fits; `damaged` is told why one that does not open was refused. */
export function tokensOfPartial(
  record: string,
  wanted: Omit<PartialReply, "tokens"> & { readonly conversation: ConversationId },
  {
    records,
    damaged,
  }: { readonly records: Records; readonly damaged: (error: EyrieError) => void },
): readonly number[] {
  if (record === "") return [];
  try {
    const partial = records.decode(record, partialPlace(wanted.conversation)) as PartialReply;
    const fits =
      partial.turn === wanted.turn &&
      partial.attempt === wanted.attempt &&
      partial.logHead === wanted.logHead &&
      partial.fingerprint === wanted.fingerprint;
    return fits ? partial.tokens : [];
  } catch (error) {
    if (!(error instanceof EyrieError)) throw error;
    damaged(error);
    return [];
  }
}
