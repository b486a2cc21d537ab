/** A message as lines of text: wrapped to the terminal's width, coloured when it can be. */
import { styleText } from "node:util";
import { ButtonStyle, ComponentType } from "discord-api-types/v10";
import { componentsOf } from "../interactions.ts";
import { messageText } from "../messages.ts";
import type { Message } from "../messages.ts";
import type { World } from "../world.ts";

export interface Look {
  readonly columns: number;
  readonly colour: boolean;
}

type Style = Parameters<typeof styleText>[0];

export const paint = (look: Look, style: Style, text: string): string =>
  look.colour ? styleText(style, text, { validateStream: false }) : text;

/** East Asian wide and full-width blocks, and pictures. */
const wideBlocks = [
  "\\u1100-\\u115f\\u2e80-\\ua4cf\\uac00-\\ud7a3",
  "\\uf900-\\ufaff\\ufe30-\\ufe6f\\uff00-\\uff60\\uffe0-\\uffe6",
].join("");
const wide = new RegExp(`[${wideBlocks}]|\\p{Emoji_Presentation}`, "u");

/** Terminal cells of one code point. */
const cellsOf = (character: string): number =>
  /\p{M}|\u200d/u.test(character) ? 0 : wide.test(character) ? 2 : 1;

/** Breaks at spaces where it can, inside a word where it must. */
export function wrap(text: string, columns: number): string[] {
  return text.split("\n").flatMap((line) => {
    const rows: string[] = [];
    let row = "";
    let cells = 0;
    for (const character of line) {
      if (cells + cellsOf(character) > columns) {
        const at = row.lastIndexOf(" ");
        const rest = at > columns / 2 ? row.slice(at + 1) : "";
        rows.push(at > columns / 2 ? row.slice(0, at) : row);
        row = rest;
        cells = Array.from(rest).reduce((sum, one) => sum + cellsOf(one), 0);
      }
      row += character;
      cells += cellsOf(character);
    }
    return [...rows, row];
  });
}

const named = (world: World, text: string): string =>
  text.replace(/<@!?(\d+)>/g, (mention, id: string) => {
    const user = world.users.get(id);
    return user ? `@${user.name}` : mention;
  });

const clockOf = (ms: number): string => new Date(ms).toTimeString().slice(0, 8);

/** Head, body and buttons of a message's present version. */
export function drawMessage(world: World, message: Message, look: Look): string[] {
  const { author, wire, ephemeralFor, deletedAtMs, replyTo, history } = message;
  const marks = [
    clockOf(message.createdAtMs),
    ...(replyTo ? [`to ${replyTo.author.name}`] : []),
    ...(ephemeralFor === null ? [] : ["only you see this"]),
    ...(history.length > 1 ? [`edited ${history.length - 1}×`] : []),
    ...(deletedAtMs === null ? [] : ["deleted"]),
  ];
  const name = paint(look, ["bold", author.bot ? "cyan" : "green"], author.name);
  const head = `${name} ${paint(look, "dim", marks.join(" · "))}`;
  const isThinking = (wire.flags & 128) !== 0;
  const said = isThinking ? "is thinking…" : messageText(wire.content, wire.components).trim();
  const embeds = (wire.embeds as readonly { title?: string; description?: string }[])
    .flatMap((embed) => [embed.title, embed.description])
    .filter((part) => part !== undefined);
  const text = named(world, [said, ...embeds].filter(Boolean).join("\n"));
  const dimmed = deletedAtMs !== null || isThinking;
  const body = wrap(text, look.columns - 4).map((row) =>
    dimmed ? `  ${paint(look, "dim", row)}` : `  ${row}`,
  );
  const buttons = drawButtons(message, look);
  return [head, ...body, ...(buttons ? [buttons] : [])];
}

function drawButtons(message: Message, look: Look): string | null {
  const labels = componentsOf(message).flatMap((component) => {
    if ((component["type"] as ComponentType) !== ComponentType.Button) return [];
    const label = ` ${labelOf(component)} `;
    if (component["disabled"] === true) return [paint(look, "dim", `(${label})`)];
    const isDanger = (component["style"] as ButtonStyle) === ButtonStyle.Danger;
    return [paint(look, isDanger ? ["inverse", "red"] : "inverse", `[${label}]`)];
  });
  return labels.length > 0 ? `  ${labels.join(" ")}` : null;
}

/** What a person reads on a button. */
export function labelOf(component: Readonly<Record<string, unknown>>): string {
  const emoji = component["emoji"] as { name?: string } | undefined;
  const label = typeof component["label"] === "string" ? component["label"] : "";
  return [emoji?.name, label].filter(Boolean).join(" ");
}
