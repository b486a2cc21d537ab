/** `POST /interactions/:id/:token/callback`: the first answer to an interaction. */
import { InteractionType as Kind, MessageFlags, MessageType } from "discord-api-types/v10";
import { InteractionResponseType as Reply } from "discord-api-types/v10";
import { firstAnswerMsMax } from "../interactions.ts";
import type { Interaction } from "../interactions.ts";
import { parseUsers } from "../mentions.ts";
import type { Draft, Message } from "../messages.ts";
import { fieldsOf, Form, listOf } from "../rules/form.ts";
import { isEmpty, readDraft } from "../rules/messages.ts";
import type { RestContext } from "./context.ts";
import { alreadyAcknowledged, emptyMessage, unknownInteraction } from "./errors.ts";
import { bodyOf, noContent, ok, param } from "./request.ts";
import type { Answer, Call, Route } from "./request.ts";
import { readPatch } from "./messages.ts";

export function interactionRoutes(context: RestContext): Route[] {
  return [
    {
      method: "POST",
      path: "/interactions/:interaction/:token/callback",
      auth: "token",
      handle: (call) => callback(context, call),
    },
  ];
}

/** Which answers fit which interaction. */
const fitting: Readonly<Record<number, readonly number[]>> = {
  [Kind.Ping]: [Reply.Pong],
  [Kind.ApplicationCommand]: [
    Reply.ChannelMessageWithSource,
    Reply.DeferredChannelMessageWithSource,
    Reply.Modal,
    Reply.LaunchActivity,
  ],
  [Kind.MessageComponent]: [
    Reply.ChannelMessageWithSource,
    Reply.DeferredChannelMessageWithSource,
    Reply.DeferredMessageUpdate,
    Reply.UpdateMessage,
    Reply.Modal,
    Reply.LaunchActivity,
  ],
  [Kind.ApplicationCommandAutocomplete]: [Reply.ApplicationCommandAutocompleteResult],
  [Kind.ModalSubmit]: [
    Reply.ChannelMessageWithSource,
    Reply.DeferredChannelMessageWithSource,
    Reply.DeferredMessageUpdate,
    Reply.UpdateMessage,
  ],
};

function callback(context: RestContext, call: Call): Answer {
  const interaction = context.interactions.find(param(call, "interaction"), param(call, "token"));
  if (!interaction) throw unknownInteraction();
  if (interaction.acknowledged !== null) throw alreadyAcknowledged();
  if (context.interactions.ageMs(interaction) > firstAnswerMsMax) throw unknownInteraction();

  const { type } = bodyOf(call);
  const allowed = fitting[interaction.type] ?? [];
  if (typeof type !== "number" || !allowed.includes(type)) {
    const form = new Form();
    form.fail(["type"], "BASE_TYPE_CHOICES", `Value must be one of (${allowed.join(", ")}).`);
    form.settle();
  }
  const data = { ...call, body: fieldsOf(bodyOf(call)["data"]) };
  const message = answer(context, interaction, { type: Number(type), data });
  interaction.acknowledged = Number(type);
  if (call.query["with_response"] !== "true") return noContent;
  return ok(callbackResponse(interaction, Number(type), message));
}

/** Does what the answer says; returns the message it made or changed. */
function answer(
  context: RestContext,
  interaction: Interaction,
  reply: { type: number; data: Call },
): Message | null {
  const { type, data } = reply;
  switch (type as Reply) {
    case Reply.ChannelMessageWithSource: {
      const { world } = context;
      const files = { files: data.files, nextId: () => world.ids.next() };
      const draft = readDraft(bodyOf(data), files);
      if (isEmpty(draft)) throw emptyMessage();
      interaction.original = postAnswer(context, interaction, {
        draft,
        ephemeral: isEphemeral(data),
      });
      return interaction.original;
    }
    case Reply.DeferredChannelMessageWithSource:
      // Of the flags only EPHEMERAL is taken here; the message is there at once, as "thinking".
      interaction.original = postAnswer(context, interaction, {
        draft: { flags: MessageFlags.Loading },
        ephemeral: isEphemeral(data),
      });
      return interaction.original;
    case Reply.DeferredMessageUpdate:
      interaction.original = interaction.source;
      return interaction.source;
    case Reply.UpdateMessage: {
      if (!interaction.source) throw unknownInteraction();
      const patch = readPatch(context, data, interaction.source);
      context.messages.edit(interaction.source, { allowedMentions: parseUsers, ...patch });
      interaction.original = interaction.source;
      return interaction.source;
    }
    case Reply.Modal:
      interaction.modal = readModal(bodyOf(data));
      return null;
    case Reply.ApplicationCommandAutocompleteResult:
      interaction.choices = readChoices(bodyOf(data));
      return null;
    case Reply.Pong:
    case Reply.PremiumRequired:
    case Reply.LaunchActivity:
      return null;
  }
}

const isEphemeral = (data: Call): boolean =>
  (Number(bodyOf(data)["flags"] ?? 0) & MessageFlags.Ephemeral) !== 0;

/** A message in answer to an interaction: original response or follow-up. */
export function postAnswer(
  context: RestContext,
  interaction: Interaction,
  reply: { draft: Partial<Draft>; ephemeral: boolean; replyTo?: Message | null },
): Message {
  const { channel, user, id, type } = interaction;
  const fromCommand = interaction.type === Kind.ApplicationCommand;
  return context.messages.post(channel, context.world.bot, {
    content: "",
    allowedMentions: parseUsers,
    ...reply.draft,
    ...(fromCommand && !reply.replyTo ? { type: MessageType.ChatInputCommand } : {}),
    ...(reply.ephemeral ? { ephemeralFor: user.id } : {}),
    interaction: { id, type, user },
  });
}

function readModal(data: ReturnType<typeof bodyOf>): ReturnType<typeof bodyOf> {
  const form = new Form();
  form.text(["title"], data["title"], { min: 1, max: 45, required: true });
  form.text(["custom_id"], data["custom_id"], { min: 1, max: 100, required: true });
  form.list(["components"], data["components"] ?? [], { min: 1, max: 5 });
  form.settle();
  return data;
}

function readChoices(data: ReturnType<typeof bodyOf>) {
  const form = new Form();
  form.list(["data", "choices"], data["choices"] ?? [], { max: 25 });
  for (const [i, choice] of listOf(data["choices"]).entries()) {
    const path = ["data", "choices", i, "name"];
    form.text(path, choice["name"], { min: 1, max: 100, required: true });
  }
  form.settle();
  return listOf(data["choices"]);
}

function callbackResponse(interaction: Interaction, type: number, message: Message | null) {
  const loading = (type as Reply) === Reply.DeferredChannelMessageWithSource;
  return {
    interaction: {
      id: interaction.id,
      type: interaction.type,
      ...(message ? { response_message_id: message.id } : {}),
      response_message_loading: loading,
      response_message_ephemeral: message?.ephemeralFor !== null && message !== null,
    },
    resource: { type, ...(message ? { message: message.wire } : {}) },
  };
}
