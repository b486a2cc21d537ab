/** Every turn that was said ends once, and turns are numbered in the order they were said. */
import { outboxMember } from "#infra/redis/keys.ts";
import type { ConversationId, TurnId } from "#infra/turn/index.ts";
import { nameOf, type Picture, type StoredConversation } from "./picture.ts";
import type { Violation } from "./violation.ts";

/** A turn that somebody tried to put into a mailbox. */
export interface SaidTurn {
  readonly conversation: ConversationId;
  readonly turn: TurnId;
  /** False when the outcome of the append is not known: the turn may be there or not. */
  readonly acknowledged: boolean;
  /** Grows with the order in which a conversation's turns were said; null where nothing says it. */
  readonly order: number | null;
}

interface Place {
  readonly kind: "record" | "mailbox";
  readonly seq: number;
  readonly attempt: number;
}

function placesOf(stored: StoredConversation | undefined, turn: TurnId): Place[] {
  if (stored === undefined) return [];
  const records = stored.records.filter((record) => record.turn === turn);
  const waiting = stored.mailbox.filter((entry) => entry.turn.id === turn);
  return [
    ...records.map(({ attempt, seq }): Place => ({ kind: "record", seq, attempt })),
    ...waiting.map(({ seq, turn: { attempt } }): Place => ({ kind: "mailbox", seq, attempt })),
  ];
}

/** Each turn is in exactly one place: answered, failed by name, or waiting. */
export function endsOnce(picture: Picture, said: readonly SaidTurn[]): Violation[] {
  return said.flatMap(({ acknowledged, conversation, turn }): Violation[] => {
    const places = placesOf(picture.conversations.get(conversation), turn);
    if (places.length === 1 || (places.length === 0 && !acknowledged)) return [];
    const name = `turn ${turn} of ${conversation}`;
    if (places.length === 0) return [{ kind: "lost", what: `${name} was appended and is nowhere` }];
    const where = places.map(({ attempt, kind, seq }) => `${kind} ${seq} (attempt ${attempt})`);
    return [{ kind: "duplicated", what: `${name} is in ${where.join(" and ")}` }];
  });
}

/** Turns nobody said, or of another conversation. */
export function nobodyElses(picture: Picture, said: readonly SaidTurn[]): Violation[] {
  const known = new Map(said.map(({ conversation, turn }) => [turn, conversation]));
  return [...picture.conversations.values()].flatMap(({ id, mailbox, records }) => {
    const turns = [...records.map(({ turn }) => turn), ...mailbox.map(({ turn }) => turn.id)];
    return turns.flatMap((turn): Violation[] => {
      const owner = known.get(turn);
      if (owner === id) return [];
      const what = `turn ${turn} stands in ${id}, ${owner ? `said in ${owner}` : "said nowhere"}`;
      return [{ kind: "crossed", what }];
    });
  });
}

/** What was said later has the larger number. */
export function inOrder(picture: Picture, said: readonly SaidTurn[]): Violation[] {
  const violations: Violation[] = [];
  const latest = new Map<ConversationId, { seq: number; turn: TurnId }>();
  const ordered = said.filter(({ order }) => order !== null);
  for (const one of ordered.toSorted((a, b) => (a.order ?? 0) - (b.order ?? 0))) {
    const [place] = placesOf(picture.conversations.get(one.conversation), one.turn);
    // A turn that is asked again has a new, larger number, rightly.
    if (place === undefined || place.attempt > 0) continue;
    const before = latest.get(one.conversation);
    if (before !== undefined && before.seq > place.seq) {
      const what =
        `in ${one.conversation} turn ${one.turn} is number ${place.seq}, ` +
        `turn ${before.turn}, said before, number ${before.seq}`;
      violations.push({ kind: "reordered", what });
    }
    if (before === undefined || before.seq < place.seq) {
      latest.set(one.conversation, { seq: place.seq, turn: one.turn });
    }
  }
  return violations;
}

/**
 * Numbers without gap or repeat: those of records, of mail and of attempts that were taken back make
 * 1 … seq; those up to the last commit are no longer waiting, and mail stands in order.
 */
export function numbered(picture: Picture): Violation[] {
  return [...picture.conversations.values()].flatMap((stored) => {
    const { committedSeq, id, mailbox, records, seq } = stored;
    const holders = new Map<number, string[]>();
    const hold = (number: number, holder: string): void => {
      holders.set(number, [...(holders.get(number) ?? []), holder]);
    };
    for (const record of records) hold(record.seq, `record ${nameOf(record)}`);
    for (const entry of mailbox) hold(entry.seq, `mail ${entry.turn.id}`);
    const again = stored.rewound.filter(({ kind }) => kind === "regenerate");
    const taken = new Set(again.flatMap(({ turns }) => turns.map((turn) => turn.seq)));
    const violations: Violation[] = [];
    for (let number = 1; number <= seq; number++) {
      const own = holders.get(number) ?? [];
      if (own.length > 1) {
        const what = `number ${number} of ${id} is given to ${own.join(" and ")}`;
        violations.push({ kind: "duplicated", what });
      }
      if (own.length === 0 && !taken.has(number)) {
        violations.push({ kind: "lost", what: `nothing has number ${number} of ${seq} in ${id}` });
      }
      holders.delete(number);
    }
    for (const [number, own] of holders) {
      const what = `${own.join()} of ${id} has number ${number}, the last given is ${seq}`;
      violations.push({ kind: "corrupt", what });
    }
    const waiting = mailbox.map((entry) => entry.seq);
    if (waiting.some((number, index) => number <= (waiting[index - 1] ?? committedSeq))) {
      const what = `mail of ${id} is ${waiting.join()} after commit ${committedSeq}`;
      violations.push({ kind: "reordered", what });
    }
    return violations;
  });
}

/** What the outbox names is in the ledger, and what waits is dirty: else nobody would look for it. */
export function findable(picture: Picture): Violation[] {
  const records = new Set<string>();
  const violations: Violation[] = [];
  for (const { id, mailbox, records: own } of picture.conversations.values()) {
    for (const record of own) records.add(outboxMember(id, record));
    if (mailbox.length > 0 === picture.dirty.has(id)) continue;
    const what =
      mailbox.length > 0 ? `${id} has mail and no sweeper would know` : `${id} is swept in vain`;
    violations.push({ kind: mailbox.length > 0 ? "lost" : "unfinished", what });
  }
  for (const member of picture.outbox) {
    if (!records.has(member)) {
      violations.push({ kind: "lost", what: `the outbox names ${member}, which has no record` });
    }
  }
  return violations;
}
