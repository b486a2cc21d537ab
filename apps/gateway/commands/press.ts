/**
 * What happens when a button is pressed, and who may press it: those under a reply are for who asked
 * and for those who may delete messages there anyway; those under what `/privacy` shows are seen by
 * one person only, and deleting takes the right to in a server.
 */
import { type APIMessageComponentInteraction, ButtonStyle, PermissionFlagsBits } from "discord.js";
import { requestStop } from "#infra/control/control.ts";
import type { Conversations } from "#infra/conversation/conversations.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { type UserId, userId } from "#infra/turn/index.ts";
import { ring, type SubmitParts } from "../intake/submit.ts";
import type { Answers, AnswersParts } from "./answers.ts";
import { type Buttons, noTurn, type Press } from "./buttons.ts";

export interface PressParts extends SubmitParts, AnswersParts {
  readonly buttons: Buttons;
  readonly conversations: Conversations;
  readonly translator: Translator;
  readonly truth: ScriptedRedis;
}

interface Presser {
  readonly userId: string;
  readonly locale: string;
  readonly answers: Answers;
}

type Pressed = APIMessageComponentInteraction;

/** Files above this are not sent; Discord says what it takes, at least 10 MiB. */
const fileBytesMax = 10 * 1024 ** 2;

export async function press(
  interaction: Pressed,
  presser: Presser,
  parts: PressParts,
): Promise<void> {
  const target = parts.buttons.parse(interaction.data.custom_id);
  if (target === null) return presser.answers.refuse("BUTTON_EXPIRED");
  const work = { interaction, target, presser, parts };
  switch (target.action) {
    case "stop":
      return stop(work);
    case "again":
      return again(work);
    case "export":
      return exportAll(work);
    case "delete":
      return askToDelete(work);
    case "erase":
      return erase(work);
    case "leave":
      return askToLeave(work);
    case "gone":
      return leave(work);
  }
}

interface Work {
  readonly interaction: Pressed;
  readonly target: Press;
  readonly presser: Presser;
  readonly parts: PressParts;
}

/** Discord computes the permissions for the channel, threads included. */
function moderates(interaction: Pressed): boolean {
  const permissions = BigInt(interaction.member?.permissions ?? 0);
  return (permissions & PermissionFlagsBits.ManageMessages) !== 0n;
}

function mayPress({ interaction, presser }: Work, author: UserId): boolean {
  return author === presser.userId || moderates(interaction);
}

async function stop(work: Work): Promise<void> {
  const { log, renders, truth } = work.parts;
  const { answers } = work.presser;
  const { conversation, key } = work.target;
  const reply = renders.find(key);
  if (reply === null) return answers.refuse("BUTTON_EXPIRED");
  if (!mayPress(work, reply.author)) return answers.refuse("NOT_YOUR_BUTTON");
  await answers.acknowledge();
  await requestStop(truth, conversation, key);
  log.info("stop asked for", { turn: key.turn });
}

/** First the deed, which takes a moment, then the answer: a refusal must be a private message. */
async function again(work: Work): Promise<void> {
  const { conversations, ledger, log, renders } = work.parts;
  const { answers } = work.presser;
  const { conversation, key } = work.target;
  const record = await ledger.reply(conversation, key);
  if (record !== null && !mayPress(work, record.author)) return answers.refuse("NOT_YOUR_BUTTON");
  // The button stands before its edit is answered: the old attempt's render must have ended.
  if (!(await renders.settled(conversation, key))) return answers.refuse("BUSY_TRY_LATER");
  const outcome = await conversations.regenerate(conversation, key, work.interaction.id);
  if (outcome.kind === "not-last") return answers.refuse("REGENERATE_NOT_LAST");
  await answers.acknowledge();
  if (outcome.kind === "answered") return;
  log.info("turn asked again", { turn: key.turn, attempt: outcome.turn.attempt });
  await renders.open(outcome.turn);
  await ring(outcome.turn, work.parts);
}

async function exportAll({ interaction, presser, parts, target }: Work): Promise<void> {
  const { answers, locale } = presser;
  if (!(await answers.defer({ privately: true }))) return;
  const exported = await parts.conversations.export(target.conversation);
  const data = Buffer.from(`${JSON.stringify(exported, null, 2)}\n`);
  const limit = interaction.attachment_size_limit;
  if (data.length > Math.max(limit, fileBytesMax)) return answers.refuse("EXPORT_TOO_LARGE");
  const name = `${target.conversation}.json`;
  const content = parts.translator.text(locale, "replies:exported");
  await answers.replace({ content, files: [{ name, data, contentType: "application/json" }] });
}

function mayDelete(interaction: Pressed): boolean {
  return interaction.guild_id === undefined || moderates(interaction);
}

async function askToDelete(work: Work): Promise<void> {
  if (!mayDelete(work.interaction)) return work.presser.answers.refuse("DELETE_FORBIDDEN");
  await ask(work, "erase", { question: "deleteAsk", label: "eraseButton" });
}

/** Everybody may, for themselves: it takes back no more than `/undo` and `/reset` do. */
async function askToLeave(work: Work): Promise<void> {
  await ask(work, "gone", { question: "leaveAsk", label: "goneButton" });
}

async function ask(
  { presser, parts, target }: Work,
  action: "erase" | "gone",
  words: { readonly question: string; readonly label: string },
): Promise<void> {
  const { answers, locale } = presser;
  if (!(await answers.acknowledge())) return;
  const { buttons, translator } = parts;
  const label = translator.text(locale, `replies:${words.label}`);
  const { conversation } = target;
  const next: Press = { action, conversation, key: noTurn };
  const row = buttons.row([next, { label, style: ButtonStyle.Danger }]);
  const content = translator.text(locale, `replies:${words.question}`);
  await answers.replace({ content, components: [row] });
}

async function leave({ presser, parts, target }: Work): Promise<void> {
  const { answers, locale } = presser;
  if (!(await answers.acknowledge())) return;
  const { conversations, log, renders, translator } = parts;
  const user = userId(presser.userId);
  await renders.forget(target.conversation, user);
  const forgotten = await conversations.forgetUser(target.conversation, user);
  log.info("user forgotten", { how: forgotten.kind });
  const count = forgotten.kind === "rolled-back" ? forgotten.turns : 0;
  const content = translator.text(locale, `replies:gone.${forgotten.kind}`, { count });
  await answers.replace({ content, components: [] });
}

async function erase({ interaction, presser, parts, target }: Work): Promise<void> {
  const { answers, locale } = presser;
  if (!mayDelete(interaction)) return answers.refuse("DELETE_FORBIDDEN");
  if (!(await answers.acknowledge())) return;
  const { conversations, log, renders, translator } = parts;
  await renders.forget(target.conversation);
  const keys = await conversations.delete(target.conversation);
  log.info("conversation deleted", { keys });
  const content = translator.text(locale, "replies:deleted");
  await answers.replace({ content, components: [] });
}
