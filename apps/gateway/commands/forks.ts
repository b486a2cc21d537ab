/**
 * Carrying a fork out: an anchor message, the conversation behind it, the thread on it, a greeting.
 *
 * A thread has the id of the message it hangs on, so the new conversation is known, and stands in
 * truth, before the thread is open to anybody. Every step may be done again: the anchor has a nonce
 * and is noted, the conversation is planted once for its operation, a message has one thread at most.
 * Killed anywhere → the next process goes on with what is pending. What Discord refuses for good is
 * taken back: no thread, no conversation, no anchor.
 */
import {
  type APIMessage,
  DiscordAPIError,
  MessageFlags,
  type REST,
  RESTJSONErrorCodes,
  Routes,
} from "discord.js";
import type { Clock } from "#infra/clock/clock.ts";
import type { Conversations } from "#infra/conversation/conversations.ts";
import type { PendingFork, PendingForks } from "#infra/discord/pending-forks.ts";
import type { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import { conversationOf } from "../intake/submit.ts";
import { mentionNobody } from "../render/carrier.ts";
import { classifyFailure, failureCode } from "../render/failure.ts";

const triesMax = 5;
const retryMsMin = 500;

export interface ForksParts {
  readonly rest: REST;
  readonly pendingForks: PendingForks;
  readonly conversations: Conversations;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly translator: Translator;
  readonly log: Log;
}

export type Forked =
  | { readonly kind: "forked"; readonly threadId: string }
  | { readonly kind: "refused"; readonly code: ErrorCode };

export class Forks {
  readonly #parts: ForksParts;

  constructor(parts: ForksParts) {
    this.#parts = parts;
  }

  /** The same order again goes on where it was left. */
  async begin(fork: PendingFork): Promise<Forked> {
    const { ledger, pendingForks } = this.#parts;
    const pending = await pendingForks.find(fork.operation);
    if (pending !== null) return this.#carryOut(pending);
    if ((await ledger.logHead(fork.source)).tokens === 0) {
      return { kind: "refused", code: "CONVERSATION_EMPTY" };
    }
    await pendingForks.save(fork);
    return this.#carryOut(fork);
  }

  /** Finishes what another process began. */
  async resume(): Promise<void> {
    const { log, pendingForks } = this.#parts;
    const refused = (error: EyrieError): void =>
      log.error("pending fork refused", errorFields(error));
    for (const fork of await pendingForks.all(refused)) {
      try {
        await this.#carryOut(fork);
      } catch (error) {
        log.warn("fork still pending", { operation: fork.operation, ...errorFields(error) });
      }
    }
  }

  async #carryOut(fork: PendingFork): Promise<Forked> {
    const { conversations, pendingForks } = this.#parts;
    const anchorId = fork.anchorId ?? (await this.#anchor(fork));
    if (anchorId === null) return this.#refuse(fork, "FORK_FORBIDDEN");
    const anchored = { ...fork, anchorId };
    if (fork.anchorId === null) await pendingForks.save(anchored);
    const target = conversationOf(anchorId);
    const { kind } = await conversations.fork(fork.source, target, fork.operation);
    // The source was reset or deleted since: there is nothing to go on from.
    if (kind !== "forked") return this.#refuse(anchored, "CONVERSATION_EMPTY");
    if (!(await this.#openThread(anchored))) {
      await conversations.delete(target);
      return this.#refuse(anchored, "FORK_FORBIDDEN");
    }
    await this.#greet(anchored);
    await pendingForks.remove(fork.operation);
    return { kind: "forked", threadId: anchorId };
  }

  async #refuse(fork: PendingFork, code: ErrorCode): Promise<Forked> {
    const { channelId, anchorId } = fork;
    if (anchorId !== null) {
      await this.#try(async () => {
        await this.#parts.rest.delete(Routes.channelMessage(channelId, anchorId));
      });
    }
    await this.#parts.pendingForks.remove(fork.operation);
    return { kind: "refused", code };
  }

  async #anchor(fork: PendingFork): Promise<string | null> {
    const content = this.#parts.translator.text(fork.locale, "replies:forkAnchor");
    const message = await this.#try(async () =>
      this.#post(fork.channelId, { content, nonce: `${fork.operation}-f` }),
    );
    return message === null ? null : message.id;
  }

  /** False when Discord will not have it. */
  async #openThread(fork: PendingFork): Promise<boolean> {
    const { rest } = this.#parts;
    const opened = await this.#try(async () => {
      try {
        await rest.post(Routes.threads(fork.channelId, fork.anchorId ?? ""), {
          body: { name: fork.title },
        });
      } catch (error) {
        // Ours, opened by a request whose answer we never got.
        const code = error instanceof DiscordAPIError ? error.code : null;
        if (code !== RESTJSONErrorCodes.ThreadAlreadyCreatedForMessage) throw error;
      }
      return true;
    });
    return opened === true;
  }

  /** A courtesy: the thread is there and works without. */
  async #greet(fork: PendingFork): Promise<void> {
    const channel = `<#${fork.channelId}>`;
    const content = this.#parts.translator.text(fork.locale, "replies:forkGreeting", { channel });
    await this.#try(async () =>
      this.#post(fork.anchorId ?? "", { content, nonce: `${fork.operation}-g` }),
    );
  }

  async #post(
    channelId: string,
    message: { readonly content: string; readonly nonce: string },
  ): Promise<APIMessage> {
    const answer = await this.#parts.rest.post(Routes.channelMessages(channelId), {
      body: {
        ...message,
        enforce_nonce: true,
        allowed_mentions: mentionNobody,
        flags: MessageFlags.SuppressEmbeds,
      },
    });
    return answer as APIMessage;
  }

  /** Null when Discord refuses for good; tries again what passes, then throws. */
  async #try<T>(request: () => Promise<T>): Promise<T | null> {
    const { clock, log } = this.#parts;
    for (let tries = 1; ; tries++) {
      try {
        return await request();
      } catch (error) {
        log.warn("fork: request failed", { code: failureCode(error) });
        if (classifyFailure(error) !== "passing") return null;
        if (tries === triesMax) throw error;
        await clock.sleep(retryMsMin * 2 ** tries);
      }
    }
  }
}
