/**
 * The Lua scripts as typed methods. A script's header is its contract: the number of keys is the
 * number of its `KEYS[n]` lines, so header and call cannot drift apart unnoticed. A script that takes
 * any number says `KEYS[n…]`; its caller puts the number first.
 */
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";

/** Refusals shared by the scripts; see the headers of `scripts/*.lua`. */
export const refusal = {
  leaseLost: -1,
  alreadyCommitted: -2,
  /** The same number where a conversation is begun: it exists. */
  exists: -2,
  notTheHead: -3,
  leased: -4,
  mailboxFull: -5,
  logMoved: -6,
  noMail: -7,
  claimedTooOften: -8,
} as const;

type Argument = string | number | Buffer;

export interface Scripts {
  appendTurn(...args: Argument[]): Promise<[seqOrRefusal: number, length: number]>;
  claimConversation(
    ...args: Argument[]
  ): Promise<
    | [noMailOrTooOften: number]
    | [leased: number, msLeft: number]
    | [
        fence: number,
        head: string,
        logHead: string,
        logStart: string,
        claims: number,
        previousWorker: string,
        source: string,
        partial: string,
      ]
  >;
  renewLease(...args: Argument[]): Promise<number>;
  releaseLease(...args: Argument[]): Promise<number>;
  handOver(...args: Argument[]): Promise<number>;
  commitTurn(...args: Argument[]): Promise<number>;
  endDamaged(numberOfKeys: number, ...args: Argument[]): Promise<number>;
  holdConversation(
    ...args: Argument[]
  ): Promise<[refusal: number] | [fence: number, logStart: string]>;
  readConversationBuffer(
    ...args: Argument[]
  ): Promise<
    [
      exists: number,
      logHead: Buffer,
      logStart: Buffer,
      model: Buffer,
      community: Buffer,
      last: Buffer,
      blocks: Buffer[],
      turns: Buffer[],
      meta: Buffer[],
    ]
  >;
  rewindConversation(...args: Argument[]): Promise<number>;
  regenerateTurn(...args: Argument[]): Promise<number>;
  plantConversation(...args: Argument[]): Promise<number>;
  deleteConversation(numberOfKeys: number, ...args: Argument[]): Promise<number>;
  trimLog(...args: Argument[]): Promise<number>;
  forgetTurns(numberOfKeys: number, ...args: Argument[]): Promise<number>;
  notePart(...args: Argument[]): Promise<number>;
  markDelivered(...args: Argument[]): Promise<number>;
  nameSnapshot(...args: Argument[]): Promise<number>;
  copyConversationBuffer(
    numberOfKeys: number,
    ...args: Argument[]
  ): Promise<[type: Buffer, msLeft: number, values: Buffer[]][]>;
  restoreConversation(numberOfKeys: number, ...args: Argument[]): Promise<number>;
  replaceValue(...args: Argument[]): Promise<number>;
  replaceSnapshot(...args: Argument[]): Promise<number>;
}

export type ScriptedRedis = Redis & Scripts;

const scriptNames = [
  "append-turn",
  "claim-conversation",
  "renew-lease",
  "release-lease",
  "hand-over",
  "commit-turn",
  "end-damaged",
  "hold-conversation",
  "read-conversation",
  "rewind-conversation",
  "regenerate-turn",
  "plant-conversation",
  "delete-conversation",
  "trim-log",
  "forget-turns",
  "note-part",
  "mark-delivered",
  "name-snapshot",
  "copy-conversation",
  "restore-conversation",
  "replace-value",
  "replace-snapshot",
] as const;

export function defineScripts(client: Redis): ScriptedRedis {
  for (const name of scriptNames) {
    const lua = readFileSync(new URL(`scripts/${name}.lua`, import.meta.url), "utf8");
    const numberOfKeys = lua.match(/^-- KEYS\[\d+\]/gm)?.length ?? 0;
    const anyNumber = /^-- KEYS\[\d+…\]/m.test(lua);
    client.defineCommand(camelCase(name), anyNumber ? { lua } : { lua, numberOfKeys });
  }
  return client as ScriptedRedis;
}

function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}
