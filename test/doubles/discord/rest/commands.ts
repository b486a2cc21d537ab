/** Application commands, global and of one guild: list, overwrite, create, change, remove. */
import type { Command, CommandScope } from "../commands.ts";
import { checkCommands, checkOneCommand } from "../rules/commands.ts";
import { fieldsOf, Form } from "../rules/form.ts";
import type { Fields } from "../rules/form.ts";
import { guildOf } from "./context.ts";
import type { RestContext } from "./context.ts";
import { dailyCreates, missingAccess, unknownCommand } from "./errors.ts";
import { bodyOf, noContent, ok, param } from "./request.ts";
import type { Answer, Call, Route } from "./request.ts";

export function commandRoutes(context: RestContext): Route[] {
  const bases = ["/applications/:application", "/applications/:application/guilds/:guild"];
  return bases.flatMap((base): Route[] => {
    const all = `${base}/commands`;
    const one = `${base}/commands/:command`;
    return [
      {
        method: "GET",
        path: all,
        auth: "bot",
        handle: (call) => ok(context.commands.in(scopeOf(context, call))),
      },
      { method: "PUT", path: all, auth: "bot", handle: (call) => overwrite(context, call) },
      { method: "POST", path: all, auth: "bot", handle: (call) => create(context, call) },
      { method: "GET", path: one, auth: "bot", handle: (call) => ok(commandOf(context, call)) },
      { method: "PATCH", path: one, auth: "bot", handle: (call) => change(context, call) },
      {
        method: "DELETE",
        path: one,
        auth: "bot",
        handle: (call) => {
          context.commands.remove(scopeOf(context, call), commandOf(context, call));
          return noContent;
        },
      },
    ];
  });
}

function scopeOf(context: RestContext, call: Call): CommandScope {
  if (param(call, "application") !== context.world.applicationId) throw missingAccess();
  return call.params["guild"] === undefined ? null : guildOf(context, call).id;
}

function commandOf(context: RestContext, call: Call): Command {
  const id = param(call, "command");
  const command = context.commands.in(scopeOf(context, call)).find((one) => one.id === id);
  if (!command) throw unknownCommand();
  return command;
}

function overwrite(context: RestContext, call: Call): Answer {
  const scope = scopeOf(context, call);
  if (!Array.isArray(call.body)) {
    const form = new Form();
    form.fail([], "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType");
    form.settle();
  }
  const wanted = (call.body as unknown[]).map(fieldsOf);
  checkCommands(wanted);
  allow(context, scope, wanted);
  return ok(context.commands.replace(scope, wanted));
}

function create(context: RestContext, call: Call): Answer {
  const scope = scopeOf(context, call);
  const fields = bodyOf(call);
  checkOneCommand(fields);
  allow(context, scope, [fields]);
  const isNew = !context.commands.in(scope).some((one) => one.name === fields["name"]);
  return { status: isNew ? 201 : 200, body: context.commands.put(scope, fields) };
}

function change(context: RestContext, call: Call): Answer {
  const scope = scopeOf(context, call);
  const before = commandOf(context, call);
  const fields = { ...before, ...bodyOf(call) };
  checkOneCommand(fields);
  return ok(context.commands.put(scope, fields, before));
}

function allow(context: RestContext, scope: CommandScope, wanted: readonly Fields[]): void {
  if (!context.commands.mayCreate(scope, wanted)) throw dailyCreates();
}
