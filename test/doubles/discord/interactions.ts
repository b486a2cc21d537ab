/**
 * Interactions: a user runs a command, presses a button, submits a modal. Makes the event, keeps the
 * token's life (3 s to the first answer, 15 min in all) and what the application answered.
 */
import { randomBytes } from "node:crypto";
import {
  ApplicationCommandOptionType as Option,
  ApplicationCommandType,
  InteractionType,
  PermissionFlagsBits,
} from "discord-api-types/v10";
import type { Command, Commands } from "./commands.ts";
import type { Message } from "./messages.ts";
import { guildPermissions, permissionsIn } from "./permissions.ts";
import { fieldsOf, listOf } from "./rules/form.ts";
import type { Fields } from "./rules/form.ts";
import { interactionChannelWire, memberWire, userWire } from "./wire.ts";
import type { Channel, User, World } from "./world.ts";

export const firstAnswerMsMax = 3_000;
export const tokenMsMax = 15 * 60 * 1000;

export type OptionValue = string | number | boolean | User;
export type OptionValues = Readonly<Record<string, OptionValue>>;

export interface Interaction {
  readonly id: string;
  readonly token: string;
  readonly type: InteractionType;
  readonly createdAtMs: number;
  readonly channel: Channel;
  readonly user: User;
  /** The message whose component was pressed. */
  readonly source: Message | null;
  /** Callback type of the first answer. */
  acknowledged: number | null;
  /** The message that answers: the original response. */
  original: Message | null;
  readonly followups: Message[];
  /** Modal shown, or autocomplete choices returned. */
  modal: Fields | null;
  choices: readonly Fields[] | null;
}

interface Act {
  readonly channel: Channel;
  readonly user: User;
  readonly type: InteractionType;
  readonly data: Fields;
  readonly source?: Message;
  readonly locale?: string;
}

export class Interactions {
  readonly #world: World;
  readonly #commands: Commands;
  readonly #byId = new Map<string, Interaction>();
  readonly #byToken = new Map<string, Interaction>();

  constructor(world: World, commands: Commands) {
    this.#world = world;
    this.#commands = commands;
  }

  find(id: string, token: string): Interaction | undefined {
    const interaction = this.#byId.get(id);
    return interaction?.token === token ? interaction : undefined;
  }

  withToken(token: string): Interaction | undefined {
    return this.#byToken.get(token);
  }

  ageMs(interaction: Interaction): number {
    return this.#world.clock.now() - interaction.createdAtMs;
  }

  /** `name` may be "settings language": a subcommand. Throws if the user could not run it. */
  run(
    channel: Channel,
    user: User,
    act: { name: string; options?: OptionValues; locale?: string; focused?: string },
  ): Interaction {
    const [name = "", ...subcommands] = act.name.split(" ");
    const command = this.#usable(name, { channel, user, kind: ApplicationCommandType.ChatInput });
    const { options, users } = spellOptions(command, { ...act, subcommands });
    const data = { id: command.id, name, type: command.type, options };
    const resolved = users.length > 0 ? { resolved: this.#resolved(channel, users) } : {};
    const type =
      act.focused === undefined
        ? InteractionType.ApplicationCommand
        : InteractionType.ApplicationCommandAutocomplete;
    const { locale } = act;
    return this.#send({
      channel,
      user,
      type,
      data: { ...data, ...resolved },
      ...(locale === undefined ? {} : { locale }),
    });
  }

  /** A message context menu entry. */
  menu(message: Message, user: User, name: string): Interaction {
    const channel = this.#world.channel(message.channelId);
    const kind = ApplicationCommandType.Message;
    const command = this.#usable(name, { channel, user, kind });
    const data = {
      id: command.id,
      name,
      type: kind,
      target_id: message.id,
      resolved: { messages: { [message.id]: message.wire } },
    };
    return this.#send({ channel, user, type: InteractionType.ApplicationCommand, data });
  }

  /** Throws when the component is not there, disabled, or the message not the user's to see. */
  press(message: Message, customId: string, act: { user: User; values?: string[] }): Interaction {
    const component = componentsOf(message).find((one) => one["custom_id"] === customId);
    if (message.deletedAtMs !== null) throw new Error(`message ${message.id} is deleted`);
    if (!component) throw new Error(`message ${message.id} has no component ${customId}`);
    if (component["disabled"] === true) throw new Error(`component ${customId} is disabled`);
    if (message.ephemeralFor !== null && message.ephemeralFor !== act.user.id) {
      throw new Error(`${act.user.name} cannot see message ${message.id}`);
    }
    return this.#send({
      channel: this.#world.channel(message.channelId),
      user: act.user,
      type: InteractionType.MessageComponent,
      data: {
        custom_id: customId,
        component_type: component["type"],
        id: component["id"],
        ...(act.values ? { values: act.values } : {}),
      },
      source: message,
    });
  }

  /** Fills in the modal an interaction was answered with; values by custom id. */
  submit(shown: Interaction, values: Readonly<Record<string, string>>): Interaction {
    if (!shown.modal) throw new Error("no modal was shown");
    const fill = (node: Fields): Fields => {
      const value = values[String(node["custom_id"])];
      return {
        ...node,
        ...(value === undefined ? {} : { value }),
        ...(node["components"] ? { components: listOf(node["components"]).map(fill) } : {}),
        ...(node["component"] ? { component: fill(fieldsOf(node["component"])) } : {}),
      };
    };
    const components = listOf(shown.modal["components"]).map(fill);
    return this.#send({
      channel: shown.channel,
      user: shown.user,
      type: InteractionType.ModalSubmit,
      data: { custom_id: shown.modal["custom_id"], components },
      ...(shown.source ? { source: shown.source } : {}),
    });
  }

  #usable(
    name: string,
    act: { channel: Channel; user: User; kind: ApplicationCommandType },
  ): Command {
    const { guildId } = act.channel;
    const command = this.#commands.find(guildId, name, act.kind);
    if (!command) throw new Error(`no command /${name} is registered`);
    const contexts = command["contexts"];
    if (Array.isArray(contexts) && !contexts.includes(guildId === null ? 1 : 0)) {
      throw new Error(`/${name} is not offered here`);
    }
    const needed = command["default_member_permissions"];
    if (guildId === null || typeof needed !== "string") return command;
    this.#enter(act.channel, act.user);
    const bits = guildPermissions(this.#world, guildId, act.user.id);
    const isAdmin = (bits & PermissionFlagsBits.Administrator) !== 0n;
    // "0" means administrators only.
    if (!isAdmin && (BigInt(needed) === 0n || (bits & BigInt(needed)) !== BigInt(needed))) {
      throw new Error(`${act.user.name} may not run /${name}`);
    }
    return command;
  }

  #enter(channel: Channel, user: User): void {
    if (channel.guildId === null) return;
    const guild = this.#world.guild(channel.guildId);
    if (!guild.members.has(user.id)) this.#world.join(guild, user);
  }

  #resolved(channel: Channel, users: readonly User[]): Fields {
    const guild = channel.guildId === null ? null : this.#world.guild(channel.guildId);
    const members = users.flatMap((user) => {
      const member = guild?.members.get(user.id);
      return member ? [[user.id, { ...memberWire(member), permissions: "0" }]] : [];
    });
    return {
      users: Object.fromEntries(users.map((user) => [user.id, userWire(user)])),
      members: Object.fromEntries(members) as unknown,
    };
  }

  #send(act: Act): Interaction {
    this.#enter(act.channel, act.user);
    const interaction: Interaction = {
      id: this.#world.ids.next(),
      token: randomBytes(48).toString("base64url"),
      type: act.type,
      createdAtMs: this.#world.clock.now(),
      channel: act.channel,
      user: act.user,
      source: act.source ?? null,
      acknowledged: null,
      original: null,
      followups: [],
      modal: null,
      choices: null,
    };
    this.#byId.set(interaction.id, interaction);
    this.#byToken.set(interaction.token, interaction);
    this.#world.publish({
      type: "INTERACTION_CREATE",
      data: this.#event(interaction, act),
      guildId: act.channel.guildId,
      intent: 0,
    });
    return interaction;
  }

  #event(interaction: Interaction, act: Act): Fields {
    const world = this.#world;
    const { channel, user } = act;
    return {
      id: interaction.id,
      application_id: world.applicationId,
      type: interaction.type,
      token: interaction.token,
      version: 1,
      data: act.data,
      channel_id: channel.id,
      channel: interactionChannelWire(world, channel, user),
      locale: act.locale ?? user.locale,
      app_permissions: permissionsIn(world, channel, world.bot.id).toString(),
      entitlements: [],
      authorizing_integration_owners: { 0: channel.guildId ?? "0" },
      context: channel.guildId === null ? 1 : 0,
      attachment_size_limit: 10 * 1024 * 1024,
      ...whoWire(world, channel, user),
      ...(act.source ? { message: act.source.wire } : {}),
    };
  }
}

function whoWire(world: World, channel: Channel, user: User): Fields {
  if (channel.guildId === null) return { user: userWire(user) };
  const guild = world.guild(channel.guildId);
  const member = guild.members.get(user.id);
  if (!member) throw new Error(`${user.name} is not in ${guild.name}`);
  const permissions = permissionsIn(world, channel, user.id).toString();
  return {
    guild_id: guild.id,
    guild: { id: guild.id, locale: guild.preferredLocale, features: [] },
    guild_locale: guild.preferredLocale,
    member: { ...memberWire(member), user: userWire(user), permissions },
  };
}

/** Every component of a message, rows and containers unfolded. */
export function componentsOf(message: Message): Fields[] {
  const unfold = (node: Fields): Fields[] => [
    node,
    ...listOf(node["components"]).flatMap(unfold),
    ...(node["accessory"] ? unfold(fieldsOf(node["accessory"])) : []),
  ];
  return listOf(message.wire.components).flatMap(unfold);
}

/** Options as the client app sends them, by the registered definition; misuse throws. */
function spellOptions(
  command: Command,
  act: { subcommands: readonly string[]; options?: OptionValues; focused?: string },
): { options: Fields[]; users: User[] } {
  let defined = listOf(command["options"]);
  const path: Fields[] = [];
  for (const name of act.subcommands) {
    const sub = defined.find((option) => option["name"] === name);
    if (!sub) throw new Error(`/${command.name} has no subcommand ${name}`);
    path.push({ name, type: sub["type"] });
    defined = listOf(sub["options"]);
  }
  const given = act.options ?? {};
  for (const name of Object.keys(given)) {
    if (!defined.some((option) => option["name"] === name)) {
      throw new Error(`/${command.name} has no option ${name}`);
    }
  }
  const users: User[] = [];
  let options = defined.flatMap((option): Fields[] => {
    const name = String(option["name"]);
    const value = given[name];
    if (value === undefined) {
      if (option["required"] === true) throw new Error(`/${command.name} needs ${name}`);
      return [];
    }
    if (typeof value === "object") users.push(value);
    const spelled = typeof value === "object" ? value.id : value;
    checkValue(command, option, spelled);
    const focused = act.focused === name ? { focused: true } : {};
    return [{ name, type: option["type"], value: spelled, ...focused }];
  });
  for (const step of path.toReversed()) options = [{ ...step, options }];
  return { options, users };
}

const spelledName = (option: Fields): string => String(option["name"]);

function checkValue(command: Command, option: Fields, value: string | number | boolean): void {
  const choices = listOf(option["choices"]);
  if (choices.length > 0 && !choices.some((choice) => choice["value"] === value)) {
    throw new Error(`/${command.name} ${spelledName(option)}: ${value} is not a choice`);
  }
  const max = option["max_length"];
  if (option["type"] === Option.String && typeof max === "number" && `${value}`.length > max) {
    throw new Error(`/${command.name} ${spelledName(option)} is longer than ${max}`);
  }
}
