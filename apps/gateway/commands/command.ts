/** What a slash command is: how it is announced and what it does. One file per command. */
import type {
  APIChatInputApplicationCommandInteraction,
  RESTPostAPIChatInputApplicationCommandsJSONBody,
} from "discord.js";
import type { Conversations } from "#infra/conversation/conversations.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { Mailbox } from "#infra/mailbox/mailbox.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import type { Question, Submitted } from "../intake/submit.ts";
import type { Renders } from "../render/renders.ts";
import type { Answers } from "./answers.ts";
import type { Buttons } from "./buttons.ts";
import type { Forks } from "./forks.ts";

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
  readonly conversations: Conversations;
  readonly renders: Renders;
  readonly forks: Forks;
  readonly buttons: Buttons;
  readonly translator: Translator;
  readonly submit: (question: Question) => Promise<Submitted>;
}
