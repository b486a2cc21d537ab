/** An interaction as the user who started it sees it: the answers, as they come. */
import { InteractionResponseType, MessageFlags } from "discord-api-types/v10";
import type { Interaction } from "./interactions.ts";
import type { Message } from "./messages.ts";
import type { Fields } from "./rules/form.ts";
import { waitUntil } from "./wait.ts";

const waitMs = 5_000;

export class InteractionHandle {
  readonly interaction: Interaction;

  constructor(interaction: Interaction) {
    this.interaction = interaction;
  }

  get id(): string {
    return this.interaction.id;
  }

  /** Callback type of the first answer (discord-api-types' `InteractionResponseType`), or null. */
  get acknowledged(): number | null {
    return this.interaction.acknowledged;
  }

  /** Original response and follow-ups that are there now. */
  get messages(): readonly Message[] {
    const { original, followups } = this.interaction;
    const all = original ? [original, ...followups] : followups;
    return all.filter((message) => message.deletedAtMs === null);
  }

  /** The first answer's kind; waits for it. */
  async response(timeoutMs = waitMs): Promise<number> {
    return this.#wait(() => this.interaction.acknowledged, timeoutMs, "an answer");
  }

  /** The original response once it says something, so after "thinking". */
  async reply(timeoutMs = waitMs): Promise<Message> {
    const probe = (): Message | null => {
      const { original } = this.interaction;
      const isLoading = original && (original.wire.flags & MessageFlags.Loading) !== 0;
      return isLoading ? null : original;
    };
    return this.#wait(probe, timeoutMs, "a reply");
  }

  async modal(timeoutMs = waitMs): Promise<Fields> {
    return this.#wait(() => this.interaction.modal, timeoutMs, "a modal");
  }

  async choices(timeoutMs = waitMs): Promise<readonly Fields[]> {
    return this.#wait(() => this.interaction.choices, timeoutMs, "choices");
  }

  #wait<T>(probe: () => T | null, timeoutMs: number, what: string): Promise<T> {
    const { id, acknowledged } = this.interaction;
    const kind = acknowledged === null ? "none" : InteractionResponseType[acknowledged];
    return waitUntil(probe, timeoutMs, () => `${what} to interaction ${id} (so far: ${kind})`);
  }
}
