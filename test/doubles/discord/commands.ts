/** The application's registered commands: one global scope, one for each guild. */
import { ApplicationCommandType as Kind } from "discord-api-types/v10";
import type { Fields } from "./rules/form.ts";
import { commandKey, kindOf } from "./rules/commands.ts";
import type { World } from "./world.ts";

export interface Command extends Fields {
  readonly id: string;
  readonly name: string;
  readonly type: number;
}

/** `null` is the global scope. */
export type CommandScope = string | null;

const dayMs = 24 * 60 * 60 * 1000;
export const createsPerDayMax = 200;

export class Commands {
  readonly #world: World;
  readonly #scopes = new Map<CommandScope, Command[]>();
  readonly #creates = new Map<CommandScope, number[]>();

  constructor(world: World) {
    this.#world = world;
  }

  in(scope: CommandScope): readonly Command[] {
    return this.#scopes.get(scope) ?? [];
  }

  /** What a member of this guild (or, with null, a user in a DM) would find; guild ones win. */
  find(guildId: string | null, name: string, kind: number = Kind.ChatInput): Command | undefined {
    const matches = (command: Command): boolean => command.name === name && command.type === kind;
    const own = guildId === null ? undefined : this.in(guildId).find(matches);
    return own ?? this.in(null).find(matches);
  }

  /** Bulk overwrite: what is not listed is gone, what has the same name and type keeps its id. */
  replace(scope: CommandScope, wanted: readonly Fields[]): readonly Command[] {
    const kept = this.in(scope);
    const next = wanted.map((fields) => this.#make(scope, fields, match(kept, fields)));
    this.#scopes.set(scope, next);
    return next;
  }

  /** Creates one, or replaces its namesake. */
  put(scope: CommandScope, fields: Fields, known?: Command): Command {
    const before = known ?? match(this.in(scope), fields);
    const command = this.#make(scope, fields, before);
    this.#scopes.set(scope, [...this.in(scope).filter((one) => one !== before), command]);
    return command;
  }

  remove(scope: CommandScope, command: Command): void {
    const left = this.in(scope).filter((one) => one !== command);
    this.#scopes.set(scope, left);
  }

  /** True if so many new commands still fit into this day's allowance. */
  mayCreate(scope: CommandScope, wanted: readonly Fields[]): boolean {
    const now = this.#world.clock.now();
    const today = (this.#creates.get(scope) ?? []).filter((atMs) => now - atMs < dayMs);
    this.#creates.set(scope, today);
    const fresh = wanted.filter((fields) => !match(this.in(scope), fields)).length;
    return today.length + fresh <= createsPerDayMax;
  }

  #make(scope: CommandScope, fields: Fields, before: Command | undefined): Command {
    const world = this.#world;
    if (!before) {
      const creates = this.#creates.get(scope) ?? [];
      this.#creates.set(scope, [...creates, world.clock.now()]);
    }
    return {
      description: "",
      options: [],
      name_localizations: null,
      description_localizations: null,
      default_member_permissions: null,
      nsfw: false,
      integration_types: [0],
      contexts: null,
      ...fields,
      id: before?.id ?? world.ids.next(),
      application_id: world.applicationId,
      version: world.ids.next(),
      type: kindOf(fields),
      name: String(fields["name"]),
      ...(scope === null ? {} : { guild_id: scope }),
    };
  }
}

const match = (commands: readonly Command[], fields: Fields): Command | undefined =>
  commands.find((command) => commandKey(command) === commandKey(fields));
