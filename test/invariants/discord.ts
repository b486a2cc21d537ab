/** What stands in Discord is what the ledger says, once. */
import { outboxMember } from "#infra/redis/keys.ts";
import type { ReplyRecord, TurnId } from "#infra/turn/index.ts";
import { nameOf, type Picture } from "./picture.ts";
import type { Violation } from "./violation.ts";

/** A message of the bot that everybody can see now. */
export interface ShownMessage {
  readonly id: string;
  readonly channelId: string;
  readonly content: string;
  /** The turn that it is a part of the answer to; null for messages of another kind. */
  readonly answers: TurnId | null;
}

/** The parts that a record should be shown as; see `expectedParts` in `expected.ts`. */
export type Expected = (record: ReplyRecord) => readonly string[];

/** Each delivered reply stands there in exactly its parts, and each says what the record says. */
export function shownOnce(
  picture: Picture,
  shown: readonly ShownMessage[],
  expected: Expected,
): Violation[] {
  const byTurn = Map.groupBy(shown, ({ answers }) => answers);
  const violations: Violation[] = [];
  for (const { id, noted, records } of picture.conversations.values()) {
    for (const record of records) {
      const { origin, turn } = record;
      if (origin.kind === "cli" || picture.outbox.has(outboxMember(id, record))) continue;
      const known = noted.get(nameOf(record)) ?? [];
      const messages = byTurn.get(turn) ?? [];
      const name = `reply ${nameOf(record)} of ${id}`;
      const strays = messages.filter(({ channelId }) => channelId !== origin.channelId);
      for (const { channelId } of strays) {
        violations.push({ kind: "crossed", what: `${name} is shown in channel ${channelId}` });
      }
      const ids = messages.map((message) => message.id);
      if (known.join() !== ids.join()) {
        const what = `${name} is shown by ${ids.join() || "nothing"}, noted ${known.join()}`;
        const kind = ids.length > known.length ? "duplicated" : "lost";
        violations.push({ kind: ids.length === known.length ? "altered" : kind, what });
      }
      violations.push(...compare(name, messages, expected(record)));
    }
  }
  return violations;
}

function compare(
  name: string,
  messages: readonly ShownMessage[],
  parts: readonly string[],
): Violation[] {
  if (messages.length !== parts.length) {
    const kind = messages.length > parts.length ? "duplicated" : "lost";
    return [{ kind, what: `${name} has ${parts.length} parts, shown are ${messages.length}` }];
  }
  return parts.flatMap((part, index): Violation[] => {
    const content = messages[index]?.content ?? "";
    // A reply that was taken back says so in small print under its last part.
    if (content === part || content.startsWith(`${part}\n-# `)) return [];
    const what = `part ${index} of ${name} says ${quote(content)} instead of ${quote(part)}`;
    return [{ kind: "altered", what }];
  });
}

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
