/** Finding the conversations that hold something of a person, in one pass over truth. */
import type { Redis } from "ioredis";
import { decodePastTurn } from "#infra/ledger/past-turn.ts";
import { decodeSpeaker, mayBeOf, speakerPrefix } from "#infra/ledger/speakers.ts";
import { keyPages } from "#infra/redis/address.ts";
import { truthKeyParts } from "#infra/redis/keys.ts";
import { decodeRecord } from "#infra/redis/record.ts";
import { type Records, undamaged } from "#infra/redis/records.ts";
import { type ConversationId, conversationId, type UserId } from "#infra/turn/index.ts";
import { openValue, valueKind } from "./values.ts";

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
  for await (const page of keyPages(stores.truth, "*")) {
    for (const key of page) {
      for (const conversation of await holding(stores, key, user)) {
        if (found.has(conversation)) continue;
        found.add(conversation);
        yield conversation;
      }
    }
  }
}

async function holding(stores: Stores, key: string, user: UserId): Promise<ConversationId[]> {
  const parts = truthKeyParts(key);
  if (parts === null) return key.startsWith("eyrie:gateway:") ? inGateway(stores, key, user) : [];
  const { conversation, name } = parts;
  for (const value of await valuesOf(stores.truth, key, name)) {
    if (await isTheirs(stores, { conversation, key, name, ...value }, user)) return [conversation];
  }
  return [];
}

async function inGateway(
  { records, truth }: Stores,
  key: string,
  user: UserId,
): Promise<ConversationId[]> {
  if ((await truth.type(key)) !== "hash") return [];
  const found: ConversationId[] = [];
  for (const [field, value] of Object.entries(await truth.hgetallBuffer(key))) {
    const record = await undamaged(truth, () => {
      const plain = openValue(value, valueKind(key, field), records).toString();
      return decodeRecord(plain, "open reply") as Readonly<Record<string, string>>;
    });
    const of = record?.["conversation"] ?? record?.["source"];
    if (record?.["author"] === user && of !== undefined) found.push(conversationId(of));
  }
  return found;
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

interface Found extends Value {
  readonly conversation: ConversationId;
  readonly key: string;
  readonly name: string;
}

/** Whether a record speaks of them; of one that has rotted, only a field's name may tell. */
async function isTheirs({ records, truth }: Stores, found: Found, user: UserId): Promise<boolean> {
  const { conversation, field, key, name, value } = found;
  const author = await undamaged(truth, () => {
    const plain = openValue(value, valueKind(key, field), records);
    if (name === "meta") return decodeSpeaker(plain).user;
    if (name === "turns") return decodePastTurn(plain).author;
    const record = plain.toString().replace(/^(?:\d+ ){3,4}(?=1 [0-9a-f]{8} )/, "");
    return (decodeRecord(record, name) as { readonly author: string }).author;
  });
  if (author !== null || field === null) return author === user;
  return mayBeOf(conversation, user, { field, value }, records);
}
