/** Interaction tokens as webhooks: the original response and follow-ups, for 15 minutes. */
import { MessageFlags } from "discord-api-types/v10";
import { tokenMsMax } from "../interactions.ts";
import type { Interaction } from "../interactions.ts";
import { parseUsers } from "../mentions.ts";
import type { Message } from "../messages.ts";
import { isEmpty, readDraft } from "../rules/messages.ts";
import type { RestContext } from "./context.ts";
import { emptyMessage, invalidWebhookToken, unknownMessage, unknownWebhook } from "./errors.ts";
import { postAnswer } from "./interactions.ts";
import { readPatch } from "./messages.ts";
import { bodyOf, noContent, ok, param } from "./request.ts";
import type { Answer, Call, Route } from "./request.ts";

export function webhookRoutes(context: RestContext): Route[] {
  const one = "/webhooks/:application/:token/messages/:message";
  return [
    {
      method: "POST",
      path: "/webhooks/:application/:token",
      auth: "token",
      handle: (call) => followUp(context, call),
    },
    {
      method: "GET",
      path: one,
      auth: "token",
      handle: (call) => ok(targetOf(context, call).message.wire),
    },
    { method: "PATCH", path: one, auth: "token", handle: (call) => edit(context, call) },
    { method: "DELETE", path: one, auth: "token", handle: (call) => remove(context, call) },
  ];
}

/** 10015 for a token that is unknown or not answered yet, 50027 after 15 minutes. */
function interactionOf(context: RestContext, call: Call): Interaction {
  const interaction = context.interactions.withToken(param(call, "token"));
  const isOurs = param(call, "application") === context.world.applicationId;
  if (!interaction || !isOurs) throw unknownWebhook();
  if (context.interactions.ageMs(interaction) > tokenMsMax) throw invalidWebhookToken();
  if (interaction.acknowledged === null) throw unknownWebhook();
  return interaction;
}

function targetOf(context: RestContext, call: Call) {
  const interaction = interactionOf(context, call);
  const name = param(call, "message");
  const message =
    name === "@original"
      ? interaction.original
      : [interaction.original, ...interaction.followups].find((one) => one?.id === name);
  if (!message || message.deletedAtMs !== null) throw unknownMessage();
  return { interaction, message };
}

function followUp(context: RestContext, call: Call): Answer {
  const interaction = interactionOf(context, call);
  const { original } = interaction;
  // A follow-up to a response still deferred becomes that response (kept by Discord for old apps).
  if (original && isLoading(original)) return ok(change(context, call, original).wire);
  const { world } = context;
  const draft = readDraft(bodyOf(call), { files: call.files, nextId: () => world.ids.next() });
  if (isEmpty(draft)) throw emptyMessage();
  const ephemeral = (Number(bodyOf(call)["flags"] ?? 0) & MessageFlags.Ephemeral) !== 0;
  const message = postAnswer(context, interaction, {
    draft: { ...draft, replyTo: original },
    ephemeral,
    replyTo: original,
  });
  interaction.followups.push(message);
  return ok(message.wire);
}

function edit(context: RestContext, call: Call): Answer {
  return ok(change(context, call, targetOf(context, call).message).wire);
}

const isLoading = (message: Message): boolean => (message.wire.flags & MessageFlags.Loading) !== 0;

/** The first edit ends "thinking"; EPHEMERAL stays what it was. */
function change(context: RestContext, call: Call, message: Message): Message {
  const patch = readPatch(context, call, message);
  const flags = (patch.flags ?? message.wire.flags) & ~(MessageFlags.Loading as number);
  context.messages.edit(message, { allowedMentions: parseUsers, ...patch, flags });
  return message;
}

function remove(context: RestContext, call: Call): Answer {
  context.messages.delete(targetOf(context, call).message);
  return noContent;
}
