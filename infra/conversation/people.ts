/** Finding the conversations that hold something of a person, in one pass over truth. */
import type { Redis } from "ioredis";
import { EyrieError } from "#infra/errors/error.ts";
import { decodePastTurn } from "#infra/ledger/past-turn.ts";
import { decodeSpeaker, speakerPrefix } from "#infra/ledger/speakers.ts";
import { truthKeyParts } from "#infra/redis/keys.ts";
import { decodeRecord } from "#infra/redis/record.ts";
import type { Records } from "#infra/redis/records.ts";
import { type ConversationId, conversationId, type UserId } from "#infra/turn/index.ts";
import { openValue, valueKind } from "./values.ts";

const pageSize = 500;

interface Stores {
  readonly truth: Redis;
  readonly records: Records;
}

/** Each once, as they are found; what a gateway holds of theirs counts for its conversation. */
export async function* conversationsWith(
  stores: Stores,
  user: UserId,
): AsyncGenerator<ConversationId> {
  const found = new Set<ConversationId>();
  for await (const page of stores.truth.scanStream({ count: pageSize })) {
    for (const key of page as string[]) {
      for (const conversation of await holding(stores, key, user)) {
        if (found.has(conversation)) continue;
        found.add(conversation);
        yield conversation;
      }
    }
  }
}

async function holding(
  { records, truth }: Stores,
  key: string,
  user: UserId,
): Promise<ConversationId[]> {
  const parts = truthKeyParts(key);
  if (parts === null) return key.startsWith("eyrie:gateway:") ? inGateway() : [];
  const { conversation, name } = parts;
  const authors = (await valuesOf(truth, key, name)).map(({ field, value }) =>
    authorIn(value, { key, field, name }, records),
  );
  return authors.includes(user) ? [conversation] : [];

  async function inGateway(): Promise<ConversationId[]> {
    if ((await truth.type(key)) !== "hash") return [];
    const fields = Object.entries(await truth.hgetallBuffer(key));
    return fields.flatMap(([field, value]) => {
      const record = readable(() => {
        const plain = openValue(value, valueKind(key, field), records).toString();
        return decodeRecord(plain, "open reply") as Readonly<Record<string, string>>;
      });
      const of = record?.["conversation"] ?? record?.["source"];
      return record?.["author"] === user && of !== undefined ? [conversationId(of)] : [];
    });
  }
}

interface Value {
  readonly field: string | null;
  readonly value: Buffer;
}

async function valuesOf(truth: Redis, key: string, name: string): Promise<Value[]> {
  if (name === "meta") {
    const fields = Object.entries(await truth.hgetallBuffer(key));
    return fields
      .filter(([field]) => field.startsWith(speakerPrefix))
      .map(([field, value]) => ({ field, value }));
  }
  if (name === "mailbox" || name === "turns") {
    return (await truth.lrangeBuffer(key, 0, -1)).map((value) => ({ field: null, value }));
  }
  if (name !== "last" && !name.startsWith("reply:")) return [];
  const value = await truth.getBuffer(key);
  return value === null ? [] : [{ field: null, value }];
}

/** Who a record speaks of; null for one that has rotted. */
function authorIn(
  value: Buffer,
  where: { readonly key: string; readonly field: string | null; readonly name: string },
  records: Records,
): string | null {
  return readable(() => {
    const plain = openValue(value, valueKind(where.key, where.field), records);
    if (where.name === "meta") return decodeSpeaker(plain).user;
    if (where.name === "turns") return decodePastTurn(plain).author;
    const record = plain.toString().replace(/^(?:\d+ ){3,4}(?=1 [0-9a-f]{8} )/, "");
    return (decodeRecord(record, where.name) as { readonly author: string }).author;
  });
}

function readable<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof EyrieError && error.code === "RECORD_CORRUPT") return null;
    throw error;
  }
}
