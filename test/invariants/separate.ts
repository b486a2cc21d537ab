/** Nothing of one conversation stands in another: not by name, and not by what people wrote. */
import { bucketOf } from "#infra/redis/keys.ts";
import type { ConversationId, Origin } from "#infra/turn/index.ts";
import type { Dump, StoredValue } from "./dump.ts";
import type { ShownMessage } from "./discord.ts";
import { partOfKey, type Picture } from "./picture.ts";
import type { Violation } from "./violation.ts";

/** What a conversation's keys hold says that it is its own. */
export function ownOnly(picture: Picture, truth: Dump): Violation[] {
  const violations: Violation[] = [];
  const say = (what: string): void => void violations.push({ kind: "crossed", what });
  for (const { community, id, mailbox, records } of picture.conversations.values()) {
    for (const { conversation, origin, turn } of records) {
      if (conversation !== id) say(`record ${turn} of ${conversation} stands in ${id}`);
      if (!fits(id, origin)) say(`record ${turn} in ${id} is for channel ${channelOf(origin)}`);
    }
    for (const { turn } of mailbox) {
      if (turn.conversation !== id) say(`mail ${turn.id} of ${turn.conversation} is in ${id}`);
      if (turn.community !== null && turn.community !== community) {
        say(`mail ${turn.id} of community ${turn.community} is in ${id} of ${community}`);
      }
    }
  }
  for (const key of truth.keys()) {
    const conversation = partOfKey(key)?.conversation;
    if (conversation === undefined) continue;
    const bucket = /\{(\d+)\}/.exec(key)?.[1];
    if (Number(bucket) !== bucketOf(conversation)) say(`${key} lies in another's bucket`);
  }
  return violations;
}

function channelOf(origin: Origin): string {
  return origin.kind === "cli" ? "the command line" : origin.channelId;
}

function fits(id: ConversationId, origin: Origin): boolean {
  return origin.kind === "cli" || id === `discord-${origin.channelId}`;
}

/**
 * Words that were only ever said in one conversation are nowhere else. `marks` gives each
 * conversation such a word; forks share their source's past and are not for this checker.
 */
export function marksStayHome(
  marks: ReadonlyMap<ConversationId, string>,
  where: { readonly dumps: readonly Dump[]; readonly shown: readonly ShownMessage[] },
): Violation[] {
  const texts: { readonly conversation: string; readonly place: string; readonly text: string }[] =
    [];
  for (const dump of where.dumps) {
    for (const [key, value] of dump) {
      const conversation = partOfKey(key)?.conversation;
      if (conversation !== undefined)
        texts.push({ conversation, place: key, text: wordsIn(value) });
    }
  }
  for (const { channelId, content, id } of where.shown) {
    texts.push({ conversation: `discord-${channelId}`, place: `message ${id}`, text: content });
  }
  return texts.flatMap(({ conversation, place, text }) =>
    [...marks].flatMap(([owner, mark]): Violation[] =>
      owner !== conversation && text.includes(mark)
        ? [{ kind: "crossed", what: `${place} in ${conversation} holds ${mark} of ${owner}` }]
        : [],
    ),
  );
}

function wordsIn(value: StoredValue): string {
  switch (value.kind) {
    case "string":
      return value.value.toString();
    case "list":
      return value.values.join("\n");
    case "hash":
      return [...value.fields.values()].join("\n");
    case "zset":
      return [...value.scores.keys()].join("\n");
  }
}
