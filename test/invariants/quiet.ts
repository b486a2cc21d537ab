/** Bounds that hold at any time, and what must have gone once everything had time to finish. */
import { mailboxLengthMax } from "#infra/mailbox/mailbox.ts";
import { undoTurnsMax } from "#infra/ledger/past-turn.ts";
import type { Picture } from "./picture.ts";
import type { Violation } from "./violation.ts";

export function bounded(picture: Picture): Violation[] {
  return [...picture.conversations.values()].flatMap(({ id, mailbox, past }): Violation[] => {
    const long: Violation[] = [];
    // An attempt that is asked again may stand behind a full mailbox.
    if (mailbox.length > mailboxLengthMax + 1) {
      long.push({ kind: "unbounded", what: `${mailbox.length} turns wait in ${id}` });
    }
    if (past.length > undoTurnsMax) {
      long.push({ kind: "unbounded", what: `${past.length} turns of ${id} can be taken back` });
    }
    return long;
  });
}

/** After a quiet time: no mail, no lease, nothing undelivered, nothing being shown. */
export function settled(picture: Picture): Violation[] {
  const violations: Violation[] = [];
  for (const { id, leased, mailbox } of picture.conversations.values()) {
    for (const { seq, turn } of mailbox) {
      violations.push({ kind: "lost", what: `turn ${turn.id} (${seq}) of ${id} is not answered` });
    }
    if (leased) violations.push({ kind: "unfinished", what: `${id} is still held` });
  }
  for (const member of picture.outbox) {
    violations.push({ kind: "lost", what: `reply ${member} is not delivered` });
  }
  for (const member of picture.open) {
    violations.push({ kind: "unfinished", what: `reply ${member} is still being shown` });
  }
  return violations;
}
