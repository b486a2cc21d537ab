/**
 * Watches every script that truth runs, keeps what was said and committed independently of Redis, and
 * names what must not happen at any moment: a commit without the lease, a turn twice, a wrong state.
 */
import { decodeRecord } from "#infra/redis/record.ts";
import {
  type ConversationId,
  conversationId,
  type ReplyRecord,
  type Turn,
  turnId,
  type TurnId,
} from "#infra/turn/index.ts";
import { nameOf, partOfKey } from "../invariants/picture.ts";
import type { SaidTurn } from "../invariants/turns.ts";
import type { Violation } from "../invariants/violation.ts";
import { History } from "./history.ts";
import { isPoisoned, tokenizer } from "./model.ts";
import { decodeText } from "./redis/client.ts";
import type { Script } from "./redis/lua.ts";
import type { Reply, Store } from "./redis/store.ts";

/** A head claimed this often without a commit may be given up. */
const claimsMax = 3;

export class Witness {
  readonly violations: Violation[] = [];
  readonly said = new Map<TurnId, SaidTurn>();
  /** Turn → place in the stream of events; null where nothing says what came first. */
  readonly order = new Map<string, number | null>();
  /** Turns that were told that there is no room. */
  readonly refused = new Set<string>();
  readonly committed = new Set<string>();
  readonly #turns = new Map<TurnId, Turn>();
  readonly #histories = new Map<ConversationId, History>();
  /** Meta of a conversation → which claim of its head the newest one is. */
  readonly #claims = new Map<string, number>();
  /** Who holds the conversation that a script is about to change. */
  #lease: string | null = null;

  /** Messages that were sent to the gateway, and neither taken nor refused: nobody will know of them. */
  unheard(): Violation[] {
    return [...this.order.keys()].flatMap((id): Violation[] =>
      this.said.has(turnId(id)) || this.refused.has(id)
        ? []
        : [{ kind: "lost", what: `message ${id} was never put into a mailbox` }],
    );
  }

  /** Turns of a conversation that were said and not answered. */
  waiting(conversation: ConversationId): number {
    let count = 0;
    for (const { conversation: own, turn } of this.said.values()) {
      if (own === conversation && !this.committed.has(`${turn} 0`)) count++;
    }
    return count;
  }

  before(script: Script, args: readonly string[], store: Store): void {
    if (script.name !== "commitTurn" && script.name !== "trimLog") return;
    const held = store.value(args[0] ?? "");
    this.#lease = held?.kind === "string" ? held.value : null;
  }

  after(script: Script, run: { readonly args: readonly string[]; readonly reply: Reply }): void {
    const keys = run.args.slice(0, script.numberOfKeys);
    const rest = run.args.slice(script.numberOfKeys);
    switch (script.name) {
      case "claimConversation":
        if (Array.isArray(run.reply) && run.reply.length > 2) {
          this.#claims.set(keys[1] ?? "", Number(run.reply[4]));
        }
        return;
      case "appendTurn":
        return this.#appended(rest, run.reply);
      case "commitTurn":
        return this.#committed(keys, rest, run.reply);
      case "trimLog":
        return this.#held(keys, rest, run.reply);
      case "rewindConversation":
        if (run.reply === 1) this.#history(keys[0]).rewind(rest[2] ?? "");
        return;
      case "regenerateTurn":
        if (Number(run.reply) > 0) this.#regenerated(keys, rest);
        return;
      default:
        return;
    }
  }

  /** A worker goes on from what the log keeps. */
  stateLost(conversation: string, store: Store, metaKey: string): void {
    const meta = store.value(metaKey);
    const start = meta?.kind === "hash" ? meta.fields.get("logStart") : undefined;
    const tokens = Number((start ?? "0:0").split(":")[0]);
    this.#historyOf(conversationId(conversation)).beginAt(tokens);
  }

  #appended([id = "", , record = "", conversation = ""]: readonly string[], reply: Reply): void {
    const turn = turnId(id);
    const seq = Array.isArray(reply) ? Number(reply[0]) : -5;
    if (seq === 0) return;
    // Refused now and let in later: then it stands where it was let in.
    if (seq < 0) {
      this.refused.add(turn);
      this.order.set(turn, null);
      return;
    }
    if (this.said.has(turn)) this.#say("duplicated", `turn ${turn} was put into its mailbox twice`);
    this.#turns.set(turn, decodeRecord(decodeText(record), "turn") as Turn);
    this.said.set(turn, {
      conversation: conversationId(conversation),
      turn,
      acknowledged: true,
      order: this.order.get(turn) ?? null,
    });
  }

  #regenerated(keys: readonly string[], rest: readonly string[]): void {
    this.#history(keys[0]).rewind(rest[2] ?? "");
    const [, record = ""] = /^\d+ \d+ ([^]*)$/.exec(rest[5] ?? "") ?? [];
    const turn = decodeRecord(decodeText(record), "turn") as Turn;
    this.#turns.set(turn.id, turn);
  }

  #committed(keys: readonly string[], rest: readonly string[], reply: Reply): void {
    if (Number(reply) < 0) return;
    this.#held(keys, rest, reply);
    const [, , , , block = "", , encoded = "", conversation = ""] = rest;
    const record = decodeRecord(decodeText(encoded), "record") as ReplyRecord;
    const name = `turn ${nameOf(record)} of ${conversation}`;
    if (this.committed.has(nameOf(record))) this.#say("duplicated", `${name} is committed twice`);
    this.committed.add(nameOf(record));
    const turn = this.#turns.get(record.turn);
    if (turn === undefined) return this.#say("crossed", `${name} was never said`);
    this.#judgeEnd(record, turn, this.#claims.get(keys[1] ?? "") ?? 0);
    const bytes = block === "" ? null : Buffer.from(block, "latin1");
    const wrong = this.#historyOf(conversationId(conversation)).commit(turn, record, bytes);
    if (wrong !== null) this.#say("corrupt", `${name}: ${wrong}`);
  }

  #judgeEnd(record: ReplyRecord, turn: Turn, claims: number): void {
    const name = `turn ${nameOf(record)} of ${record.conversation}`;
    const poisoned = isPoisoned(tokenizer.encode(turn.text));
    if (record.status === "failed" && claims <= claimsMax) {
      this.#say("altered", `${name} failed as ${record.code} after ${claims} claims`);
    }
    if (record.status === "committed" && poisoned && record.replyTokens > 0) {
      this.#say("altered", `${name} is poison and was answered`);
    }
  }

  #held(keys: readonly string[], rest: readonly string[], reply: Reply): void {
    if (Number(reply) < 0 || this.#lease === rest[0]) return;
    const holder = this.#lease ?? "nobody";
    this.#say("unfenced", `${keys[1]} was changed by ${rest[0]} while ${holder} held it`);
  }

  #say(kind: Violation["kind"], what: string): void {
    this.violations.push({ kind, what });
  }

  #history(metaKey = ""): History {
    const conversation = partOfKey(metaKey)?.conversation;
    if (conversation === undefined) throw new Error(`not a conversation's key: ${metaKey}`);
    return this.#historyOf(conversation);
  }

  #historyOf(conversation: ConversationId): History {
    const history = this.#histories.get(conversation) ?? new History();
    this.#histories.set(conversation, history);
    return history;
  }
}
