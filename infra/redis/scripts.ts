/**
 * The Lua scripts as typed methods. A script's header is its contract: the number of keys is the
 * number of its `KEYS[n]` lines, so header and call cannot drift apart unnoticed.
 */
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";

/** Refusals shared by the scripts; see the headers of `scripts/*.lua`. */
export const refusal = {
  leaseLost: -1,
  alreadyCommitted: -2,
  notTheHead: -3,
  leased: -4,
  mailboxFull: -5,
  logMoved: -6,
  noMail: -7,
} as const;

type Argument = string | number | Buffer;

export interface Scripts {
  appendTurn(...args: Argument[]): Promise<[seqOrRefusal: number, length: number]>;
  claimConversation(
    ...args: Argument[]
  ): Promise<
    | [noMail: number]
    | [leased: number, msLeft: number]
    | [
        fence: number,
        head: string,
        logHead: string,
        logStart: string,
        claims: number,
        previousWorker: string,
      ]
  >;
  renewLease(...args: Argument[]): Promise<number>;
  releaseLease(...args: Argument[]): Promise<number>;
  commitTurn(...args: Argument[]): Promise<number>;
  resetConversation(...args: Argument[]): Promise<number>;
  trimLog(...args: Argument[]): Promise<number>;
  markDelivered(...args: Argument[]): Promise<number>;
}

export type ScriptedRedis = Redis & Scripts;

const scriptNames = [
  "append-turn",
  "claim-conversation",
  "renew-lease",
  "release-lease",
  "commit-turn",
  "reset-conversation",
  "trim-log",
  "mark-delivered",
] as const;

export function defineScripts(client: Redis): ScriptedRedis {
  for (const name of scriptNames) {
    const lua = readFileSync(new URL(`scripts/${name}.lua`, import.meta.url), "utf8");
    const numberOfKeys = lua.match(/^-- KEYS\[\d+\]/gm)?.length ?? 0;
    client.defineCommand(camelCase(name), { lua, numberOfKeys });
  }
  return client as ScriptedRedis;
}

function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}
