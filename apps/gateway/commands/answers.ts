/**
 * Answering one interaction. Discord wants a first answer within 3 s, so everything slow comes after
 * `defer` or `acknowledge`; a replayed interaction finds itself acknowledged and goes on.
 */
import {
  DiscordAPIError,
  type GatewayInteractionCreateDispatchData,
  InteractionResponseType,
  MessageFlags,
  type RawFile,
  type REST,
  RESTJSONErrorCodes,
  Routes,
} from "discord.js";
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { Log } from "#infra/telemetry/log.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { mentionNobody } from "../render/carrier.ts";
import { failureCode } from "../render/failure.ts";
import type { ButtonRow } from "./buttons.ts";

export interface AnswerBody {
  readonly content: string;
  readonly components?: readonly ButtonRow[];
  readonly files?: readonly RawFile[];
}

export interface AnswersParts {
  readonly rest: REST;
  readonly translator: Translator;
  readonly log: Log;
  readonly metrics: GatewayMetrics;
}

export class Answers {
  readonly #interaction: GatewayInteractionCreateDispatchData;
  readonly #locale: string;
  readonly #parts: AnswersParts;
  /** What a later edit would change: an answer of its own, or the message that the button stands under. */
  #deferred: "answer" | "message" | null = null;

  constructor(
    interaction: GatewayInteractionCreateDispatchData,
    locale: string,
    parts: AnswersParts,
  ) {
    this.#interaction = interaction;
    this.#locale = locale;
    this.#parts = parts;
  }

  /** Shows that an answer is coming. False when the interaction is past answering. */
  async defer(options: { readonly privately?: true } = {}): Promise<boolean> {
    const type = InteractionResponseType.DeferredChannelMessageWithSource;
    const flags = options.privately === true ? { flags: MessageFlags.Ephemeral } : {};
    const lives = await this.#respond({ type, data: flags });
    if (lives) this.#deferred = "answer";
    return lives;
  }

  /** For a button: seen, and the message will tell. */
  async acknowledge(): Promise<boolean> {
    const lives = await this.#respond({ type: InteractionResponseType.DeferredMessageUpdate });
    if (lives) this.#deferred = "message";
    return lives;
  }

  /**
   * An error, for the asker only: instead of a first answer or in place of the deferred one. A message that
   * a button stands under keeps what it says.
   */
  async refuse(code: ErrorCode): Promise<void> {
    this.#parts.metrics.refused.inc({ code });
    const content = this.#parts.translator.error(this.#locale, new EyrieError(code));
    if (this.#deferred === "answer") return this.replace({ content, components: [] });
    const data = { content, flags: MessageFlags.Ephemeral, allowed_mentions: mentionNobody };
    if (this.#deferred === null) {
      await this.#respond({ type: InteractionResponseType.ChannelMessageWithSource, data });
      return;
    }
    const { application_id: applicationId, token } = this.#interaction;
    await this.#parts.rest.post(Routes.webhook(applicationId, token), { body: data, auth: false });
  }

  /** Replaces the deferred answer; for a button, the message that it stands under. */
  async replace({ components, content, files }: AnswerBody): Promise<void> {
    const { application_id: applicationId, token } = this.#interaction;
    await this.#parts.rest.patch(Routes.webhookMessage(applicationId, token), {
      body: {
        content,
        allowed_mentions: mentionNobody,
        ...(components === undefined ? {} : { components }),
      },
      ...(files === undefined ? {} : { files: [...files] }),
      auth: false,
    });
  }

  /** False when the interaction is past answering. */
  async #respond(body: object): Promise<boolean> {
    const { id, token } = this.#interaction;
    try {
      await this.#parts.rest.post(Routes.interactionCallback(id, token), {
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
