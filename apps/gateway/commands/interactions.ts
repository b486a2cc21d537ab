/** Slash commands and buttons: who handles which, and in which language. */
import {
  type APIChatInputApplicationCommandInteraction,
  ApplicationCommandType,
  DiscordAPIError,
  type GatewayInteractionCreateDispatchData,
  InteractionType,
} from "discord.js";
import { EyrieError } from "#infra/errors/error.ts";
import { errorRegistry } from "#infra/errors/registry.ts";
import { refusesWrites } from "#infra/redis/client.ts";
import { errorFields } from "#infra/telemetry/log.ts";
import type { Locales } from "../intake/locales.ts";
import { submit } from "../intake/submit.ts";
import { failureCode } from "../render/failure.ts";
import { Answers } from "./answers.ts";
import type { CommandContext } from "./command.ts";
import { press, type PressParts } from "./press.ts";
import { commands } from "./registry.ts";

export interface InteractionParts
  extends PressParts, Pick<CommandContext, "forks" | "mailbox" | "truth"> {
  readonly locales: Locales;
}

type Incoming = GatewayInteractionCreateDispatchData;

export class Interactions {
  readonly #parts: InteractionParts;

  constructor(parts: InteractionParts) {
    this.#parts = parts;
  }

  async handle(interaction: Incoming): Promise<void> {
    const userId = (interaction.member?.user ?? interaction.user)?.id;
    if (userId === undefined || !("locale" in interaction)) return;
    const locale = this.#parts.locales.fromInteraction(userId, interaction.locale);
    const answers = new Answers(interaction, locale, this.#parts);
    try {
      if (interaction.type === InteractionType.MessageComponent) {
        await press(interaction, { userId, locale, answers }, this.#parts);
      } else if (
        interaction.type === InteractionType.ApplicationCommand &&
        interaction.data.type === ApplicationCommandType.ChatInput
      ) {
        const order = interaction as APIChatInputApplicationCommandInteraction;
        await this.#command(order, locale, answers);
      }
    } catch (error) {
      await this.#failed(error, answers);
    }
  }

  async #command(
    interaction: APIChatInputApplicationCommandInteraction,
    locale: string,
    answers: Answers,
  ): Promise<void> {
    const command = commands.find(({ name }) => name === interaction.data.name);
    if (command === undefined) return;
    await command.run(interaction, {
      ...this.#parts,
      locale,
      answers,
      submit: async (question) => submit(question, this.#parts),
    });
  }

  /** What Discord refuses is logged; what we refuse is told to whom it happened. */
  async #failed(error: unknown, answers: Answers): Promise<void> {
    const { log } = this.#parts;
    if (error instanceof DiscordAPIError) {
      log.warn("interaction not answered", { code: failureCode(error) });
      return;
    }
    if (!(error instanceof EyrieError) && refusesWrites(error) === null) throw error;
    log.error("interaction failed", errorFields(error));
    const code = error instanceof EyrieError ? error.code : "BUSY_TRY_LATER";
    await answers.refuse(errorRegistry[code].audience === "user" ? code : "TURN_FAILED");
  }
}
