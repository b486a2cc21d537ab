/**
 * What stays after a state was saved under a lease: which snapshots, and how much of the log.
 *
 * The log must reach back to a snapshot at or before the oldest turn that can be taken back, or to
 * its own beginning: so it is trimmed to the oldest kept snapshot only if that one lies so far back, and
 * was found to be sound.
 */
import type { Ledger } from "#infra/ledger/ledger.ts";
import { formatLogHead, type LogHead, parseLogHead } from "#infra/ledger/tokenlog.ts";
import type { Hold } from "#infra/mailbox/mailbox.ts";
import type { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import { headerOfSnapshot } from "#kernels/state/snapshot.ts";

export interface RetentionStores {
  readonly ledger: Ledger;
  readonly snapshots: SnapshotStore;
}

/** False when the conversation has moved: the snapshot just written is left to vanish. */
export async function retain(
  { ledger, snapshots }: RetentionStores,
  hold: Hold,
  head: LogHead,
): Promise<boolean> {
  const { conversation } = hold;
  const blocks = await ledger.log(conversation, head);
  if (blocks === null) return false;
  await snapshots.confirm(conversation, formatLogHead(head));
  const horizon = (await ledger.undoHorizon(conversation)) ?? head;
  const heads = new Set([head, ...blocks.map(({ start }) => start)].map(formatLogHead));
  const start = formatLogHead(blocks[0]?.start ?? head);
  const log = { heads, horizonTokens: horizon.tokens, start };
  const kept = await snapshots.prune(conversation, log, isSound);
  const oldest = kept.at(-1);
  if (oldest === undefined || kept.length < 2) return true;
  const to = parseLogHead(oldest);
  if (to.tokens > horizon.tokens) return true;
  const covered = blocks.findIndex(({ end }) => formatLogHead(end) === oldest);
  if (covered >= 0) await ledger.trim(hold, { from: hold.logStart, to }, covered + 1);
  return true;
}

/** As it was written, and at that head; of which model it is, its reader asks. */
function isSound(logHead: string, packed: Uint8Array): boolean {
  const header = headerOfSnapshot(packed);
  const { crc, tokens } = parseLogHead(logHead);
  return header?.tokenPosition === tokens && header.tokenLogChecksum === crc;
}
