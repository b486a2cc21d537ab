/**
 * Slash commands and buttons. Discord wants a first answer within 3 s, so each is acknowledged
 * before anything slow is done; a replayed interaction finds itself acknowledged and goes on.
 */
import {
  type APIChatInputApplicationCommandInteraction,
  type APIMessageComponentInteraction,
  ApplicationCommandType,
  DiscordAPIError,
  type GatewayInteractionCreateDispatchData,
  InteractionResponseType,
  InteractionType,
  MessageFlags,
  PermissionFlagsBits,
  type REST,
  RESTJSONErrorCodes,
  Routes,
} from "discord.js";
import { requestStop } from "#infra/control/control.ts";
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import type { Locales } from "../intake/locales.ts";
import { submit, type SubmitParts } from "../intake/submit.ts";
import { mentionNobody } from "../render/carrier.ts";
import { failureCode } from "../render/failure.ts";
import type { Answers, CommandContext } from "./command.ts";
import { commands } from "./registry.ts";
import type { StopButtons } from "./stop-button.ts";

export interface InteractionParts
  extends
    SubmitParts,
    Pick<CommandContext, "conversations" | "ledger" | "mailbox" | "translator" | "truth"> {
  readonly rest: REST;
  readonly buttons: StopButtons;
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
    try {
      if (interaction.type === InteractionType.MessageComponent) {
        await this.#press(interaction, userId, locale);
      } else if (
        interaction.type === InteractionType.ApplicationCommand &&
        interaction.data.type === ApplicationCommandType.ChatInput
      ) {
        await this.#command(interaction as APIChatInputApplicationCommandInteraction, locale);
      }
    } catch (error) {
      if (!(error instanceof DiscordAPIError)) throw error;
      this.#parts.log.warn("interaction not answered", { code: failureCode(error) });
    }
  }

  async #command(
    interaction: APIChatInputApplicationCommandInteraction,
    locale: string,
  ): Promise<void> {
    const command = commands.find(({ name }) => name === interaction.data.name);
    if (command === undefined) return;
    await command.run(interaction, {
      ...this.#parts,
      locale,
      answers: this.#answers(interaction, locale),
      submit: async (question) => submit(question, this.#parts),
    });
  }

  /** Only who asked, or who may delete messages here anyway. */
  async #press(
    interaction: APIMessageComponentInteraction,
    userId: string,
    locale: string,
  ): Promise<void> {
    const { buttons, log, renders, truth } = this.#parts;
    const answers = this.#answers(interaction, locale);
    const target = buttons.parse(interaction.data.custom_id);
    if (target === null) return answers.refuse("BUTTON_EXPIRED");
    const reply = renders.find(target.turn);
    if (reply === null) return answers.refuse("BUTTON_EXPIRED");
    const permissions = BigInt(interaction.member?.permissions ?? 0);
    const moderates = (permissions & PermissionFlagsBits.ManageMessages) !== 0n;
    if (reply.author !== userId && !moderates) return answers.refuse("NOT_YOUR_BUTTON");
    await this.#respond(interaction, { type: InteractionResponseType.DeferredMessageUpdate });
    await requestStop(truth, target.conversation, target.turn);
    log.info("stop asked for", { turn: target.turn });
  }

  #answers(interaction: Incoming, locale: string): Answers {
    const { rest, translator } = this.#parts;
    const { application_id: applicationId, token } = interaction;
    return {
      defer: async () => {
        const type = InteractionResponseType.DeferredChannelMessageWithSource;
        return this.#respond(interaction, { type });
      },
      refuse: async (code: ErrorCode) => {
        this.#parts.metrics.refused.inc({ code });
        await this.#respond(interaction, {
          type: InteractionResponseType.ChannelMessageWithSource,
          data: {
            content: translator.error(locale, new EyrieError(code)),
            flags: MessageFlags.Ephemeral,
            allowed_mentions: mentionNobody,
          },
        });
      },
      replace: async (content) => {
        await rest.patch(Routes.webhookMessage(applicationId, token), {
          body: { content, allowed_mentions: mentionNobody },
          auth: false,
        });
      },
    };
  }

  /** False when the interaction is past answering. */
  async #respond(interaction: Incoming, body: object): Promise<boolean> {
    try {
      await this.#parts.rest.post(Routes.interactionCallback(interaction.id, interaction.token), {
        body,
        // With our token in the header, a 401 here would make the library drop that token.
        auth: false,
      });
      return true;
    } catch (error) {
      if (!(error instanceof DiscordAPIError)) throw error;
      // A replay, or a lost answer repeated by the library: it was acknowledged before.
      if (error.code === RESTJSONErrorCodes.InteractionHasAlreadyBeenAcknowledged) return true;
      this.#parts.log.warn("interaction expired", { code: failureCode(error) });
      return false;
    }
  }
}
