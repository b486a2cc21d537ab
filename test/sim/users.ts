/** People: they write, use commands, press buttons, and do not wait for each other. */
import { ComponentType, GatewayDispatchEvents, InteractionType, MessageType } from "discord.js";
import { conversationId } from "#infra/turn/index.ts";
import { applicationId, selfId, type SimDiscord } from "./discord.ts";
import { poison } from "./model.ts";
import type { SimShard } from "./shard.ts";
import type { Witness } from "./witness.ts";
import type { World } from "./world.ts";

/** Probabilities of what a person does next, when it is not to write a message. */
export interface Habits {
  readonly chat: number;
  readonly undo: number;
  readonly reset: number;
  readonly again: number;
  readonly stop: number;
  readonly poison: number;
}

const unansweredMax = 12;
/** How long somebody looks for a button to press, ms. */
const lookMsMax = 8_000;

export interface UsersParts {
  readonly world: World;
  readonly discord: SimDiscord;
  readonly shard: SimShard;
  readonly witness: Witness;
  readonly habits: Habits;
}

export class Users {
  readonly #parts: UsersParts;
  /** Messages and questions still to be asked, by everybody together. */
  #left: number;
  #busy = 0;

  constructor(parts: UsersParts, turns: number) {
    this.#parts = parts;
    this.#left = turns;
  }

  get finished(): boolean {
    return this.#left <= 0 && this.#busy === 0;
  }

  /** A channel's people begin. */
  enter(channelId: string): void {
    this.#busy++;
    const { random } = this.#parts.world;
    this.#parts.world.after(random.between(0, 2_000), () => this.#next(channelId));
  }

  #next(channelId: string): void {
    const { habits, witness, world } = this.#parts;
    const { random } = world;
    if (this.#left <= 0) {
      this.#busy--;
      return;
    }
    const conversation = conversationId(`discord-${channelId}`);
    if (witness.waiting(conversation) < unansweredMax) {
      this.#left--;
      if (random.chance(habits.chat)) this.#command(channelId, "chat", this.#text(channelId));
      else this.#write(channelId);
      if (random.chance(habits.undo)) this.#command(channelId, "undo", 1 + random.below(3));
      if (random.chance(habits.reset)) this.#command(channelId, "reset");
      if (random.chance(habits.again)) this.#press(channelId, "again", lookMsMax);
      if (random.chance(habits.stop)) this.#press(channelId, "stop", lookMsMax);
    }
    const pause = random.chance(0.3) ? random.between(0, 200) : random.between(200, 4_000);
    world.after(pause, () => this.#next(channelId));
  }

  /** Every channel has a word of its own. */
  #text(channelId: string): string {
    const { habits, world } = this.#parts;
    const number = world.random.below(1_000_000);
    const venom = world.random.chance(habits.poison) ? ` ${poison}` : "";
    return `${wordOf(channelId)} ${number}${venom}`;
  }

  #write(channelId: string): void {
    const { discord, shard, witness } = this.#parts;
    const id = discord.snowflake();
    const text = this.#text(channelId);
    discord.say(channelId, id, text);
    const self = { id: selfId, username: "eyrie", global_name: null };
    const d = {
      ...{ id, channel_id: channelId, guild_id: guildId, type: MessageType.Default },
      author: { id: userOf(channelId), username: "ada", global_name: null },
      content: `<@${selfId}> ${text}`,
      mentions: [self],
    };
    const event = { op: 0, t: GatewayDispatchEvents.MessageCreate, d };
    shard.emit(event as never, (sequence) => {
      if (!witness.order.has(id)) witness.order.set(id, sequence);
    });
  }

  #command(channelId: string, name: string, value?: string | number): void {
    const type = typeof value === "string" ? 3 : 4;
    const options = value === undefined ? [] : [{ type, name: "option", value }];
    this.#interact(channelId, null, {
      type: InteractionType.ApplicationCommand,
      data: { type: 1, name, options },
    });
  }

  /** Presses a button as soon as it stands under the newest message of the bot. */
  #press(channelId: string, action: string, leftMs: number): void {
    const { discord, world } = this.#parts;
    const message = discord.newestOfUs(channelId);
    const pattern = new RegExp(`"(v2:${action}:[^"]+)"`);
    const customId = pattern.exec(JSON.stringify(message?.components ?? []))?.[1];
    if (message === undefined || customId === undefined) {
      if (leftMs > 0) world.after(150, () => this.#press(channelId, action, leftMs - 150));
      return;
    }
    this.#interact(channelId, message.id, {
      type: InteractionType.MessageComponent,
      data: { custom_id: customId, component_type: ComponentType.Button },
      message: { id: message.id },
    });
  }

  #interact(channelId: string, messageId: string | null, order: object): void {
    const { discord, shard } = this.#parts;
    const id = discord.snowflake();
    const token = `${channelId}-${id}`;
    discord.interact(id, token, messageId);
    const d = {
      ...{ id, application_id: applicationId, token, locale: "en-US", guild_id: guildId },
      ...{ channel_id: channelId, channel: { id: channelId, type: 0 }, app_permissions: "0" },
      member: { user: { id: userOf(channelId) }, permissions: "0" },
      ...order,
    };
    shard.emit({ op: 0, t: GatewayDispatchEvents.InteractionCreate, d } as never);
  }
}

const guildId = "100000000000000009";

export function wordOf(channelId: string): string {
  return `word-of-${channelId}-only`;
}

function userOf(channelId: string): string {
  return `7${channelId}`;
}
