/** What a slash command is: how it is announced and what it does. One file per command. */
import type {
  APIChatInputApplicationCommandInteraction,
  RESTPostAPIChatInputApplicationCommandsJSONBody,
} from "discord.js";
import type { Conversations } from "#infra/conversation/conversations.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { Ledger } from "#infra/ledger/ledger.ts";
import type { Mailbox } from "#infra/mailbox/mailbox.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { Question, Submitted } from "../intake/submit.ts";

export interface Command {
  readonly name: string;
  /** The announcement, localised from the catalogues. */
  describe(translator: Translator): RESTPostAPIChatInputApplicationCommandsJSONBody;
  run(
    interaction: APIChatInputApplicationCommandInteraction,
    context: CommandContext,
  ): Promise<void>;
}

export interface CommandContext {
  readonly locale: string;
  readonly answers: Answers;
  readonly truth: ScriptedRedis;
  readonly mailbox: Mailbox;
  readonly ledger: Ledger;
  readonly conversations: Conversations;
  readonly translator: Translator;
  readonly submit: (question: Question) => Promise<Submitted>;
}

/** The ways to answer one interaction; the first must come within 3 s. */
export interface Answers {
  /** Shows that an answer is coming. False when the interaction is past answering. */
  defer(): Promise<boolean>;
  /** For the asker only. */
  refuse(code: ErrorCode): Promise<void>;
  /** Replaces the deferred answer. */
  replace(content: string): Promise<void>;
}
