/**
 * The Stop button under a reply in progress. Its `custom_id` comes back from the client, so it is
 * signed: `v1:stop:<conversation>:<turn>:<mac>`. The MAC says that we made the button; who may press
 * it is decided when it is pressed.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import {
  type APIActionRowComponent,
  type APIButtonComponent,
  ButtonStyle,
  ComponentType,
} from "discord.js";
import {
  type ConversationId,
  conversationId,
  isConversationId,
  type TurnId,
  turnId,
} from "#infra/turn/index.ts";

export interface StopTarget {
  readonly conversation: ConversationId;
  readonly turn: TurnId;
}

const pattern = /^v1:stop:([^:]+):(\d{1,20}):([\w-]{22})$/;
/** 128 bits, in base64url 22 characters; the whole id stays below Discord's 100. */
const macBytes = 16;

export class StopButtons {
  readonly #key: Buffer;

  /** The key is derived from the bot's token: a new token retires all buttons. */
  constructor(token: string) {
    this.#key = createHmac("sha256", token).update("eyrie stop button v1").digest();
  }

  customId(target: StopTarget): string {
    const body = `v1:stop:${target.conversation}:${target.turn}`;
    return `${body}:${this.#mac(body)}`;
  }

  /** What a button stops, or null when we did not make it. */
  parse(customId: string): StopTarget | null {
    const match = pattern.exec(customId);
    const [, conversation = "", turn = "", mac = ""] = match ?? [];
    if (match === null || !isConversationId(conversation)) return null;
    const expected = this.#mac(`v1:stop:${conversation}:${turn}`);
    if (!timingSafeEqual(Buffer.from(mac), Buffer.from(expected))) return null;
    return { conversation: conversationId(conversation), turn: turnId(turn) };
  }

  row(target: StopTarget, label: string): APIActionRowComponent<APIButtonComponent> {
    return {
      type: ComponentType.ActionRow,
      components: [
        {
          type: ComponentType.Button,
          style: ButtonStyle.Secondary,
          label,
          emoji: { name: "⏹️" },
          custom_id: this.customId(target),
        },
      ],
    };
  }

  #mac(body: string): string {
    const digest = createHmac("sha256", this.#key).update(body).digest();
    return digest.subarray(0, macBytes).toString("base64url");
  }
}
