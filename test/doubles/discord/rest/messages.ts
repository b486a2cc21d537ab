/** Channel messages: create, read, list, edit, delete, typing. */
import { GatewayIntentBits as Intent, PermissionFlagsBits as P } from "discord-api-types/v10";
import { snowflakeMs } from "../clock.ts";
import { withoutContent, wroteForBot } from "../gateway/visibility.ts";
import { parseEverything } from "../mentions.ts";
import type { Draft, Message } from "../messages.ts";
import { fieldsOf, Form } from "../rules/form.ts";
import { isEmpty, readDraft } from "../rules/messages.ts";
import type { Channel } from "../world.ts";
import { channelOf, demand, mayReadHistory, messageOf, sendRight } from "./context.ts";
import type { RestContext } from "./context.ts";
import { archivedThread, emptyMessage, noHistory, notYourMessage } from "./errors.ts";
import { tooManyOldEdits } from "./errors.ts";
import { bodyOf, noContent, ok } from "./request.ts";
import type { Answer, Call, Route } from "./request.ts";

const hourMs = 3_600_000;
const listMax = 100;

export function messageRoutes(context: RestContext): Route[] {
  const oldEdits = new OldEdits(context);
  const one = "/channels/:channel/messages/:message";
  return [
    {
      method: "POST",
      path: "/channels/:channel/messages",
      auth: "bot",
      handle: (call) => create(context, call),
    },
    {
      method: "GET",
      path: "/channels/:channel/messages",
      auth: "bot",
      handle: (call) => list(context, call),
    },
    { method: "GET", path: one, auth: "bot", handle: (call) => read(context, call) },
    { method: "PATCH", path: one, auth: "bot", handle: (call) => edit(context, call, oldEdits) },
    { method: "DELETE", path: one, auth: "bot", handle: (call) => remove(context, call) },
    {
      method: "POST",
      path: "/channels/:channel/typing",
      auth: "bot",
      handle: (call) => type(context, call),
    },
  ];
}

function create(context: RestContext, call: Call): Answer {
  const channel = channelOf(context, call);
  demand(context, channel, sendRight(channel));
  const { world, messages } = context;
  const draft = readDraft(bodyOf(call), { files: call.files, nextId: () => world.ids.next() });
  if (isEmpty(draft)) throw emptyMessage();

  const { enforce_nonce: enforce } = bodyOf(call);
  if (enforce === true && draft.nonce !== undefined) {
    const first = messages.withNonce(world.bot, draft.nonce, context.nonceWindowMs);
    if (first) return ok(first.wire);
  }
  const replyTo = referenceOf(context, channel, call);
  const message = messages.post(channel, world.bot, { content: "", ...draft, replyTo });
  return ok(message.wire);
}

/** Unknown target: 50035, unless `fail_if_not_exists` is false, which makes it a plain message. */
function referenceOf(context: RestContext, channel: Channel, call: Call): Message | null {
  const reference = fieldsOf(bodyOf(call)["message_reference"]);
  const id = reference["message_id"];
  if (typeof id !== "string") return null;
  if (!mayReadHistory(context, channel)) throw noHistory();
  const target = context.messages.visible(channel.id, id);
  if (target) return target;
  if (reference["fail_if_not_exists"] === false) return null;
  const form = new Form();
  form.fail(["message_reference"], "REPLIES_UNKNOWN_MESSAGE", "Unknown message");
  form.settle();
  return null;
}

/** A message as the bot may read it: blanked when MESSAGE_CONTENT is off and nothing excepts it. */
function readable(context: RestContext, message: Message): object {
  const open = context.seesContent() || wroteForBot(context.world, message);
  return open ? message.wire : withoutContent(message.wire);
}

function read(context: RestContext, call: Call): Answer {
  const channel = channelOf(context, call);
  demand(context, channel, P.ReadMessageHistory);
  return ok(readable(context, messageOf(context, call)));
}

function list(context: RestContext, call: Call): Answer {
  const channel = channelOf(context, call);
  if (!mayReadHistory(context, channel)) return ok([]);
  const limit = Number(call.query["limit"] ?? 50);
  if (!Number.isInteger(limit) || limit < 1 || limit > listMax) {
    const form = new Form();
    form.fail(["limit"], "NUMBER_TYPE_MAX", `int value should be between 1 and ${listMax}.`);
    form.settle();
  }
  const seen = context.messages
    .in(channel.id)
    .filter((message) => message.deletedAtMs === null && message.ephemeralFor === null);
  const page = pageOf(seen, call.query, limit);
  return ok(page.toReversed().map((message) => readable(context, message)));
}

/** Oldest first; `before` and no cursor take the newest, `after` the oldest that follow. */
function pageOf(seen: Message[], query: Call["query"], limit: number): Message[] {
  const { before, after, around } = query;
  if (after !== undefined) {
    return seen.filter((message) => BigInt(message.id) > BigInt(after)).slice(0, limit);
  }
  if (around !== undefined) {
    const at = seen.findIndex((message) => BigInt(message.id) >= BigInt(around));
    const from = Math.max(0, (at < 0 ? seen.length : at) - Math.floor(limit / 2));
    return seen.slice(from, from + limit);
  }
  const older =
    before === undefined ? seen : seen.filter((message) => BigInt(message.id) < BigInt(before));
  return older.slice(-limit);
}

function edit(context: RestContext, call: Call, oldEdits: OldEdits): Answer {
  const channel = channelOf(context, call);
  const message = messageOf(context, call);
  if (message.author.id !== context.world.bot.id) throw notYourMessage();
  if (channel.archived) throw archivedThread();
  const patch = readPatch(context, call, message);
  oldEdits.spend(message);
  context.messages.edit(message, { allowedMentions: parseEverything, ...patch });
  return ok(message.wire);
}

/** The change an edit asks for; refuses one that would leave nothing. */
export function readPatch(context: RestContext, call: Call, message: Message): Partial<Draft> {
  const { wire } = message;
  const nextId = (): string => context.world.ids.next();
  const patch = readDraft(bodyOf(call), { files: call.files, nextId }, wire.flags);
  const keepsFiles = bodyOf(call)["attachments"] === undefined && patch.attachments !== undefined;
  const attachments = keepsFiles ? [...wire.attachments, ...patch.attachments] : null;
  const whole = attachments === null ? patch : { ...patch, attachments };
  if (isEmpty({ ...wire, ...whole })) throw emptyMessage();
  return whole;
}

function remove(context: RestContext, call: Call): Answer {
  const channel = channelOf(context, call);
  const message = messageOf(context, call);
  if (message.author.id !== context.world.bot.id) demand(context, channel, P.ManageMessages);
  context.messages.delete(message);
  return noContent;
}

function type(context: RestContext, call: Call): Answer {
  const channel = channelOf(context, call);
  demand(context, channel, sendRight(channel));
  const { world } = context;
  world.publish({
    type: "TYPING_START",
    data: {
      channel_id: channel.id,
      ...(channel.guildId === null ? {} : { guild_id: channel.guildId }),
      user_id: world.bot.id,
      timestamp: Math.floor(world.clock.now() / 1000),
    },
    guildId: channel.guildId,
    intent: channel.guildId === null ? Intent.DirectMessageTyping : Intent.GuildMessageTyping,
  });
  return noContent;
}

/** The tighter limit on messages older than an hour; answers 429 with code 30046. */
class OldEdits {
  readonly #context: RestContext;
  readonly #recent = new Map<string, number[]>();

  constructor(context: RestContext) {
    this.#context = context;
  }

  spend(message: Message): void {
    const now = this.#context.world.clock.now();
    if (now - snowflakeMs(message.id) <= hourMs) return;
    const { limit, windowMs } = this.#context.oldEdits;
    const recent = (this.#recent.get(message.channelId) ?? []).filter((at) => now - at < windowMs);
    const [oldest] = recent;
    if (recent.length >= limit && oldest !== undefined) {
      throw tooManyOldEdits(windowMs - (now - oldest));
    }
    this.#recent.set(message.channelId, [...recent, now]);
  }
}
