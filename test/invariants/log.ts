/** The token log of every conversation is one whole chain, and its newest blocks are those of its turns. */
import { decodeLog, formatLogHead, type LogBlock } from "#infra/ledger/tokenlog.ts";
import { nameOf, type Picture, type StoredConversation } from "./picture.ts";
import type { Violation } from "./violation.ts";

/** Every block passes its checksums, and they lead from the log's start to its head. */
export function logsWhole(picture: Picture): Violation[] {
  return [...picture.conversations.values()].flatMap((stored) => {
    const { id, logHead, logStart } = stored;
    const log = read(stored);
    if (!Array.isArray(log)) return [log];
    const first = log[0]?.start ?? logHead;
    const start = `${first.tokens}:${first.crc}`;
    if (start === logStart) return [];
    return [{ kind: "corrupt", what: `the log of ${id} begins at ${start}, not at ${logStart}` }];
  });
}

/** Each of the newest blocks is one committed turn's, in the order of their numbers, none twice. */
export function logsAreTurns(picture: Picture): Violation[] {
  return [...picture.conversations.values()].flatMap((stored) => {
    const { id, past, records } = stored;
    const log = read(stored);
    if (!Array.isArray(log)) return [];
    const violations: Violation[] = [];
    const say = (kind: Violation["kind"], what: string): void =>
      void violations.push({ kind, what });
    if (past.length > log.length) say("corrupt", `${id} has fewer blocks than turns to take back`);
    const newest = past.length === 0 ? [] : log.slice(-past.length);
    const seen = new Set<string>();
    for (const [index, turn] of past.entries()) {
      const name = `turn ${nameOf(turn)} of ${id}`;
      const block = newest[index];
      if (seen.has(turn.turn)) say("duplicated", `${name} is in the log twice`);
      seen.add(turn.turn);
      if (turn.seq <= (past[index - 1]?.seq ?? 0)) say("reordered", `${name} follows a later one`);
      if (block !== undefined && formatLogHead(block.start) !== formatLogHead(turn.from)) {
        say("corrupt", `${name} began at ${formatLogHead(turn.from)}, its block elsewhere`);
      }
      const record = records.find((one) => nameOf(one) === nameOf(turn));
      if (record === undefined) say("lost", `${name} is in the log and has no record`);
      else if (record.status !== "committed" || record.seq !== turn.seq) {
        say("corrupt", `${name} is in the log, its record says ${record.status} ${record.seq}`);
      }
    }
    return violations;
  });
}

function read({ blocks, id, logHead }: StoredConversation): LogBlock[] | Violation {
  try {
    return decodeLog(blocks, logHead);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { kind: "corrupt", what: `the log of ${id}: ${reason}` };
  }
}
