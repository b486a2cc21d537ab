/**
 * The buttons under our messages. A `custom_id` comes back from the client, so it is signed:
 * `v2:<action>:<conversation>:<turn>:<attempt>:<mac>`. The MAC says that we made the button; who may
 * press it is decided when it is pressed.
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import {
  type APIActionRowComponent,
  type APIButtonComponent,
  ButtonStyle,
  ComponentType,
} from "discord.js";
import { type ConversationId, isConversationId, type TurnKey, turnId } from "#infra/turn/index.ts";

/**
 * `stop` ends a running reply, `again` has the last one written anew; under what `/privacy` shows:
 * `export`, `delete` (asks first) and `erase` (does it), `leave` (asks first) and `gone` (does it): what
 * is of the presser alone.
 */
const actions = ["stop", "again", "export", "delete", "erase", "leave", "gone"] as const;
export type Action = (typeof actions)[number];

/** What a button is for; those of `/privacy` are about a conversation, so their turn is "0". */
export interface Press {
  readonly action: Action;
  readonly conversation: ConversationId;
  readonly key: TurnKey;
}

export type ButtonRow = APIActionRowComponent<APIButtonComponent>;

export interface ButtonLook {
  readonly label: string;
  readonly emoji?: string;
  readonly style?: ButtonStyle.Secondary | ButtonStyle.Danger;
}

export const noTurn: TurnKey = { turn: turnId("0"), attempt: 0 };

const pattern = /^v2:([a-z]+):([^:]+):(\d{1,20}):(\d{1,3}):([\w-]{22})$/;
/** 128 bits, in base64url 22 characters; the whole id stays below Discord's 100. */
const macBytes = 16;

export class Buttons {
  readonly #key: KeyObject;

  /** The key is derived from the bot's token: a new token retires all buttons. */
  constructor(token: string) {
    // As an object: taken in as bytes each time, signing costs three times as much.
    this.#key = createSecretKey(createHmac("sha256", token).update("eyrie buttons v2").digest());
  }

  customId({ action, conversation, key }: Press): string {
    const body = `v2:${action}:${conversation}:${key.turn}:${key.attempt}`;
    return `${body}:${this.#mac(body)}`;
  }

  /** What a button is for, or null when we did not make it. */
  parse(customId: string): Press | null {
    const match = pattern.exec(customId);
    const [, name = "", conversation = "", turn = "", attempt = "", mac = ""] = match ?? [];
    const action = actions.find((one) => one === name);
    if (match === null || action === undefined || !isConversationId(conversation)) return null;
    const expected = this.#mac(customId.slice(0, customId.lastIndexOf(":")));
    if (!timingSafeEqual(Buffer.from(mac), Buffer.from(expected))) return null;
    return { action, conversation, key: { turn: turnId(turn), attempt: Number(attempt) } };
  }

  row(...buttons: readonly (readonly [Press, ButtonLook])[]): ButtonRow {
    const components = buttons.map(([press, look]): APIButtonComponent => {
      const { emoji, label, style = ButtonStyle.Secondary } = look;
      const face = emoji === undefined ? { label } : { label, emoji: { name: emoji } };
      return { type: ComponentType.Button, style, ...face, custom_id: this.customId(press) };
    });
    return { type: ComponentType.ActionRow, components };
  }

  #mac(body: string): string {
    const digest = createHmac("sha256", this.#key).update(body).digest();
    return digest.subarray(0, macBytes).toString("base64url");
  }
}
