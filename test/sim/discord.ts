/**
 * Discord as the platform meets it: messages, and the few REST routes that replies need, on virtual
 * time. A request may fail before it did anything, or its answer may be lost after it did.
 */
import {
  type APIMessage,
  DiscordAPIError,
  MessageFlags,
  type REST,
  RESTJSONErrorCodes,
} from "discord.js";
import { type TurnId, turnId } from "#infra/turn/index.ts";
import type { ShownMessage } from "../invariants/discord.ts";
import { type SimProcess, wallStartMs } from "./process.ts";
import type { World } from "./world.ts";

export const selfId = "100000000000000001";
export const applicationId = "100000000000000002";
/** A repeated post with the same nonce returns the first message this long. */
const nonceMsMax = 180_000;
const discordEpochMs = 1_420_070_400_000n;

export interface SimMessage {
  readonly id: string;
  readonly channelId: string;
  readonly byUs: boolean;
  readonly refersTo: string | null;
  /** The command that it is the answer to. */
  readonly interaction: string | null;
  readonly flags: number;
  content: string;
  components: readonly unknown[];
}

export interface Trouble {
  /** A request does nothing and fails. */
  failing: number;
  /** A request does its work and fails. */
  unanswered: number;
}

interface Body {
  readonly content?: string;
  readonly components?: readonly unknown[];
  readonly nonce?: string;
  readonly flags?: number;
  readonly message_reference?: { readonly message_id: string };
  readonly type?: number;
}

type Method = "get" | "post" | "patch" | "delete";

export class SimDiscord {
  readonly trouble: Trouble = { failing: 0, unanswered: 0 };
  readonly #world: World;
  readonly #messages = new Map<string, SimMessage>();
  readonly #channels = new Map<string, string[]>();
  readonly #nonces = new Map<string, { readonly id: string; readonly atMs: number }>();
  /** Interaction token → what it may edit: the answer, or the message with the button. */
  readonly #answers = new Map<string, { readonly interaction: string; messageId: string | null }>();
  readonly #acknowledged = new Set<string>();
  #ids = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Ids grow with time. */
  snowflake(): string {
    const atMs = BigInt(Math.floor(wallStartMs + this.#world.nowMs)) - discordEpochMs;
    return ((atMs << 22n) + BigInt(this.#ids++ % 2 ** 22)).toString();
  }

  message(id: string): SimMessage | undefined {
    return this.#messages.get(id);
  }

  /** The bot's newest message in a channel, if any. */
  newestOfUs(channelId: string): SimMessage | undefined {
    const ids = this.#channels.get(channelId) ?? [];
    const id = ids.findLast((one) => this.#messages.get(one)?.byUs === true);
    return id === undefined ? undefined : this.#messages.get(id);
  }

  say(channelId: string, id: string, content: string): void {
    this.#add({
      id,
      channelId,
      content,
      byUs: false,
      refersTo: null,
      interaction: null,
      flags: 0,
      components: [],
    });
  }

  /** Somebody uses a command or presses a button; for a button, the message that has it. */
  interact(interaction: string, token: string, messageId: string | null): void {
    this.#answers.set(token, { interaction, messageId });
  }

  /** Everything that the bot shows now. */
  shown(): ShownMessage[] {
    return [...this.#messages.values()].flatMap((message) =>
      message.byUs ? [{ ...message, answers: this.#answeredBy(message) }] : [],
    );
  }

  /** discord.js's REST as far as the gateway uses it, for one process. */
  rest(process: SimProcess): REST {
    const way =
      (method: Method) =>
      (
        route: string,
        options: { body?: Body; query?: URLSearchParams; signal?: AbortSignal } = {},
      ) =>
        this.#request(process, { method, route, ...options });
    return {
      get: way("get"),
      post: way("post"),
      patch: way("patch"),
      delete: way("delete"),
    } as unknown as REST;
  }

  #request(
    process: SimProcess,
    request: { method: Method; route: string; body?: Body; query?: URLSearchParams },
  ): Promise<unknown> {
    const { random } = this.#world;
    const { failing, unanswered } = this.trouble;
    return new Promise((resolve, reject) => {
      this.#world.after(random.between(10, 60), () => {
        const lost = new Error("socket hang up");
        let answer: () => void;
        if (random.chance(failing)) answer = () => reject(lost);
        else {
          try {
            const result = this.#perform(request);
            answer = random.chance(unanswered) ? () => reject(lost) : () => resolve(result);
          } catch (error) {
            answer = () => reject(error);
          }
        }
        this.#world.after(random.between(10, 60), () => process.deliver(answer));
      });
    });
  }

  #perform(request: {
    method: Method;
    route: string;
    body?: Body;
    query?: URLSearchParams;
  }): unknown {
    const { body = {}, method, query, route } = request;
    const refuse = (code: number, status: number): never => {
      throw new DiscordAPIError({ code, message: "" }, code, status, method, route, {});
    };
    const [, area = "", first = "", second = "", , last = ""] =
      /^\/(channels|webhooks|interactions)\/(\d+)\/([^/]+)(\/messages)?(?:\/([^/]+))?$/.exec(
        route,
      ) ?? [];
    if (area === "interactions") {
      if (this.#acknowledged.has(first)) {
        return refuse(RESTJSONErrorCodes.InteractionHasAlreadyBeenAcknowledged, 400);
      }
      this.#acknowledged.add(first);
      const token = second;
      return this.#defer(token, body.type ?? 0);
    }
    // A message for the asker only.
    if (area === "webhooks" && method === "post") return {};
    if (area === "webhooks") {
      const messageId = this.#answers.get(second)?.messageId ?? null;
      const message = messageId === null ? undefined : this.#messages.get(messageId);
      if (message === undefined) return refuse(RESTJSONErrorCodes.UnknownWebhook, 404);
      return this.#edit(message, body);
    }
    if (area === "channels" && second === "messages") {
      if (method === "post") return this.#post(first, body);
      if (method === "get") return this.#after(first, query?.get("after") ?? "0");
      const message = this.#messages.get(last);
      if (message?.byUs !== true) return refuse(RESTJSONErrorCodes.UnknownMessage, 404);
      if (method === "patch") return this.#edit(message, body);
      this.#messages.delete(message.id);
      return undefined;
    }
    throw new Error(`no such route here: ${method} ${route}`);
  }

  /** A command's deferred answer is a message from now on; everything else leaves nothing behind. */
  #defer(token: string, type: number): undefined {
    const answer = this.#answers.get(token);
    const deferredAnswer = 5;
    if (answer === undefined || type !== deferredAnswer) return;
    const channelId = token.split("-")[0] ?? "";
    const id = this.snowflake();
    answer.messageId = id;
    this.#add({
      id,
      channelId,
      byUs: true,
      refersTo: null,
      interaction: answer.interaction,
      flags: 0,
      content: "",
      components: [],
    });
  }

  #post(channelId: string, body: Body): APIMessage {
    const key = `${channelId} ${body.nonce}`;
    const before = body.nonce === undefined ? undefined : this.#nonces.get(key);
    if (before !== undefined && this.#world.nowMs - before.atMs < nonceMsMax) {
      const first = this.#messages.get(before.id);
      if (first !== undefined) return wireOf(first);
    }
    const message: SimMessage = {
      id: this.snowflake(),
      channelId,
      byUs: true,
      interaction: null,
      flags: body.flags ?? 0,
      refersTo: body.message_reference?.message_id ?? null,
      content: (body.content ?? "").trim(),
      components: body.components ?? [],
    };
    this.#add(message);
    this.#nonces.set(key, { id: message.id, atMs: this.#world.nowMs });
    return wireOf(message);
  }

  #edit(message: SimMessage, body: Body): APIMessage {
    if (body.content !== undefined) message.content = body.content.trim();
    if (body.components !== undefined) message.components = body.components;
    return wireOf(message);
  }

  #after(channelId: string, afterId: string): APIMessage[] {
    const ids = this.#channels.get(channelId) ?? [];
    const after = ids.filter((id) => BigInt(id) > BigInt(afterId)).slice(0, 100);
    return after.flatMap((id) => {
      const message = this.#messages.get(id);
      return message === undefined ? [] : [wireOf(message)];
    });
  }

  #add(message: SimMessage): void {
    this.#messages.set(message.id, message);
    this.#channels.set(message.channelId, [
      ...(this.#channels.get(message.channelId) ?? []),
      message.id,
    ]);
  }

  /** The turn that it is a part of the answer to: a notice is of none. */
  #answeredBy({ flags, interaction, refersTo }: SimMessage): TurnId | null {
    if ((flags & MessageFlags.SuppressNotifications) !== 0) return null;
    if (interaction !== null) return turnId(interaction);
    if (refersTo === null) return null;
    const referred = this.#messages.get(refersTo);
    return referred?.byUs === true ? this.#answeredBy(referred) : turnId(refersTo);
  }
}

function wireOf({ byUs, interaction, refersTo, ...message }: SimMessage): APIMessage {
  const wire = {
    ...message,
    author: { id: byUs ? selfId : "1" },
    ...(refersTo === null ? {} : { message_reference: { message_id: refersTo } }),
    ...(interaction === null ? {} : { interaction_metadata: { id: interaction } }),
  };
  return wire as unknown as APIMessage;
}
