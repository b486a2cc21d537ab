/**
 * What Discord accepts as application commands: names by kind and script, lengths, counts,
 * duplicates, localisations and the 8,000-character sum.
 */
import {
  ApplicationCommandOptionType as Option,
  ApplicationCommandType as Kind,
  Locale,
} from "discord-api-types/v10";
import { tooManyCommands } from "../rest/errors.ts";
import { fieldsOf, Form, lengthOf, listOf } from "./form.ts";
import type { Fields } from "./form.ts";

const namePattern = /^[-_'\p{L}\p{N}\p{sc=Deva}\p{sc=Thai}]{1,32}$/u;
const commandCharactersMax = 8_000;
const locales: ReadonlySet<string> = new Set(Object.values(Locale));

/** Most commands of each kind in one scope. */
export const commandsMax: Readonly<Record<number, number>> = {
  [Kind.ChatInput]: 100,
  [Kind.User]: 15,
  [Kind.Message]: 15,
  [Kind.PrimaryEntryPoint]: 1,
};

type Path = readonly (string | number)[];

/** Chat names have no capitals where the script has small letters; menu names are free text. */
const isChatName = (name: unknown): boolean =>
  typeof name === "string" && namePattern.test(name) && name === name.toLowerCase();

export const kindOf = (command: Fields): Kind =>
  typeof command["type"] === "number" ? command["type"] : Kind.ChatInput;

export const commandKey = (command: Fields): string =>
  `${kindOf(command)} ${String(command["name"])}`;

/** A whole scope at once, as the bulk overwrite sends it; error paths start with the index. */
export function checkCommands(commands: readonly Fields[]): void {
  for (const [kind, max] of Object.entries(commandsMax)) {
    if (commands.filter((command) => String(kindOf(command)) === kind).length > max) {
      throw tooManyCommands(max);
    }
  }
  const form = new Form();
  const seen = new Set<string>();
  for (const [i, command] of commands.entries()) {
    checkCommand(form, command, [i]);
    if (seen.has(commandKey(command))) {
      const message = "Application command names must be unique";
      form.fail([i], "APPLICATION_COMMANDS_DUPLICATE_NAME", message);
    }
    seen.add(commandKey(command));
  }
  form.settle();
}

export function checkOneCommand(command: Fields): void {
  const form = new Form();
  checkCommand(form, command, []);
  form.settle();
}

function checkCommand(form: Form, command: Fields, path: Path): void {
  const isChat = kindOf(command) === Kind.ChatInput;
  checkName(form, command, { path, chat: isChat });
  if (isChat) {
    checkDescription(form, command, path);
    checkOptions(form, command, path);
  } else if (command["description"]) {
    const message = "Context menu commands cannot have description";
    form.fail([...path, "description"], "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION", message);
  }
  if (charactersOf(command) > commandCharactersMax) {
    const message = `Command exceeds maximum size (${commandCharactersMax})`;
    form.fail(path, "APPLICATION_COMMAND_TOO_LARGE", message);
  }
}

function checkName(form: Form, named: Fields, where: { path: Path; chat: boolean }): void {
  const check = (name: unknown, path: Path): void => {
    form.text(path, name, { min: 1, max: 32, required: true });
    if (where.chat && typeof name === "string" && !isChatName(name)) {
      form.fail(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid");
    }
  };
  check(named["name"], [...where.path, "name"]);
  for (const [locale, name] of localisations(form, named, [...where.path, "name_localizations"])) {
    check(name, [...where.path, "name_localizations", locale]);
  }
}

function checkDescription(form: Form, described: Fields, path: Path): void {
  form.text([...path, "description"], described["description"], {
    min: 1,
    max: 100,
    required: true,
  });
  const field = "description_localizations";
  for (const [locale, text] of localisations(form, described, [...path, field])) {
    form.text([...path, field, locale], text, { min: 1, max: 100 });
  }
}

function localisations(form: Form, owner: Fields, path: Path): [string, unknown][] {
  const entries = Object.entries(fieldsOf(owner[String(path.at(-1))]));
  for (const [locale] of entries) {
    if (!locales.has(locale)) {
      const message = `Value must be one of {${[...locales].join(", ")}}.`;
      form.fail([...path, locale], "BASE_TYPE_CHOICES", message);
    }
  }
  return entries.filter(([, text]) => text !== null);
}

function checkOptions(form: Form, owner: Fields, path: Path): void {
  form.list([...path, "options"], owner["options"], { max: 25 });
  const options = listOf(owner["options"]);
  checkOptionNames(form, options, path);
  let optionalSeen = false;
  for (const [i, option] of options.entries()) {
    const at = [...path, "options", i];
    const type = option["type"];
    checkName(form, option, { path: at, chat: true });
    checkDescription(form, option, at);
    checkChoices(form, option, at);
    if (type === Option.Subcommand || type === Option.SubcommandGroup) {
      checkOptions(form, option, at);
    } else if (option["required"] === true && optionalSeen) {
      const message = "Required options must be placed before non-required options";
      form.fail(at, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", message);
    } else if (option["required"] !== true) {
      optionalSeen = true;
    }
  }
}

/** Names are unique, and so is each localised name among that locale's and all default names. */
function checkOptionNames(form: Form, options: readonly Fields[], path: Path): void {
  const defaults = options.map((option) => String(option["name"]));
  const takenIn = new Map<string, Set<string>>();
  for (const [i, option] of options.entries()) {
    const fail = (...rest: string[]): void =>
      form.fail(
        [...path, "options", i, ...rest],
        "APPLICATION_COMMAND_OPTIONS_NAME_DUPLICATE",
        "Option name must be unique",
      );
    if (defaults.indexOf(String(option["name"])) !== i) fail("name");
    for (const [locale, name] of Object.entries(fieldsOf(option["name_localizations"]))) {
      if (typeof name !== "string") continue;
      const taken = takenIn.get(locale) ?? new Set();
      const clashes = defaults.some((other, j) => j !== i && other === name);
      if (clashes || taken.has(name)) fail("name_localizations", locale);
      takenIn.set(locale, taken.add(name));
    }
  }
}

function checkChoices(form: Form, option: Fields, path: Path): void {
  form.list([...path, "choices"], option["choices"], { max: 25 });
  const names = new Set<unknown>();
  for (const [i, choice] of listOf(option["choices"]).entries()) {
    const at = [...path, "choices", i];
    form.text([...at, "name"], choice["name"], { min: 1, max: 100, required: true });
    if (names.has(choice["name"])) {
      const message = "Option choice name already exists";
      form.fail(at, "APPLICATION_COMMAND_OPTIONS_CHOICE_NAME_EXISTS", message);
    }
    names.add(choice["name"]);
    if (option["type"] === Option.String) {
      form.text([...at, "value"], choice["value"], { min: 1, max: 100, required: true });
    }
  }
}

/** Names, descriptions and choice values; of each localised field the longest wording counts. */
function charactersOf(node: Fields): number {
  const longest = (field: string): number => {
    const wordings = [node[field], ...Object.values(fieldsOf(node[`${field}_localizations`]))];
    return Math.max(0, ...wordings.map((text) => (typeof text === "string" ? lengthOf(text) : 0)));
  };
  const value = typeof node["value"] === "string" ? lengthOf(node["value"]) : 0;
  const inner = [...listOf(node["options"]), ...listOf(node["choices"])];
  return inner.reduce(
    (sum, child) => sum + charactersOf(child),
    longest("name") + longest("description") + value,
  );
}
