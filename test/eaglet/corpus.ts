/**
 * Reads the trainer's hand-written dialogues (format: kernels/train/README.md), for tests and the
 * evaluation. Throws on a pattern that names an unknown list.
 */
import { readFileSync } from "node:fs";
import { z } from "zod";

const DATA = new URL("../../kernels/train/data/", import.meta.url);
const RECIPES = new URL("../../kernels/train/", import.meta.url);
const recipeSchema = z.object({
  languages: z.array(z.string()),
  without: z.array(z.string()).default([]),
});
const HELD_OUT = new URL("../../kernels/train/heldout/", import.meta.url);
/** Filled by the trainer with fresh values; they stay as they are here. */
const DYNAMIC = new Set(["name", "number", "word", "gibberish", "user_colour", "user_wish"]);

export interface Intent {
  readonly answers: string[];
  /** Every expansion of every pattern. */
  readonly questions: string[];
  /** The lists of the file, by name. */
  readonly lists: Readonly<Record<string, readonly string[]>>;
}

export interface HeldOut {
  readonly intent: string;
  readonly question: string;
}

/** The languages of `data/`, which are those of the shipped model. */
export function languages(): string[] {
  return readRecipe("eaglet").languages;
}

/** Intents that a model's recipe leaves out: what they explain did not exist when it was trained. */
export function leftOut(model: string): ReadonlySet<string> {
  return new Set(readRecipe(model).without);
}

function readRecipe(model: string): z.infer<typeof recipeSchema> {
  return recipeSchema.parse(JSON.parse(readFileSync(new URL(`${model}.json`, RECIPES), "utf8")));
}

const read = new Map<string, Map<string, Intent>>();

/** Read and expanded once for each language. */
export function readIntents(language: string): Map<string, Intent> {
  const known = read.get(language) ?? expandFile(language);
  read.set(language, known);
  return known;
}

function expandFile(language: string): Map<string, Intent> {
  const lists: Record<string, string[]> = {};
  const intents = new Map<string, Intent>();
  let intent: Intent = { answers: [], questions: [], lists };
  for (const line of lines(new URL(`${language}.txt`, DATA))) {
    const list = /^@(\w+) = (.*)$/.exec(line);
    const heading = /^\[(.+)\]$/.exec(line);
    if (list) lists[list[1] ?? ""] = (list[2] ?? "").split("|");
    else if (heading) {
      intent = { answers: [], questions: [], lists };
      intents.set(heading[1] ?? "", intent);
    } else if (line.startsWith("> ")) intent.answers.push(line.slice(2));
    else intent.questions.push(...expandChoices(line).flatMap((text) => expandLists(text, lists)));
  }
  return intents;
}

/** `final` is the exam that is only taken for the model card. */
export function readHeldOut(language: string, exam: "working" | "final" = "working"): HeldOut[] {
  const folder = exam === "final" ? "final/" : "";
  return lines(new URL(`${folder}${language}.txt`, HELD_OUT)).map((line) => {
    const colon = line.indexOf(": ");
    return { intent: line.slice(0, colon), question: line.slice(colon + 2) };
  });
}

function lines(file: URL): string[] {
  const text = readFileSync(file, "utf8");
  return text.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
}

function expandChoices(pattern: string): string[] {
  // split keeps the captured choices at the odd places
  const parts = pattern.split(/\(([^()]*)\)/);
  return parts.reduce<string[]>(
    (texts, part, place) =>
      texts.flatMap((text) => (place % 2 ? part.split("|") : [part]).map((next) => text + next)),
    [""],
  );
}

function expandLists(text: string, lists: Readonly<Record<string, readonly string[]>>): string[] {
  const slot = [...text.matchAll(/\{(\w+)\}/g)].find((match) => !DYNAMIC.has(match[1] ?? ""));
  if (slot === undefined) return [text.replace(/ +/g, " ").trim()];
  const values = lists[slot[1] ?? ""];
  if (values === undefined) throw new Error(`unknown list in: ${text}`);
  return values.flatMap((value) => expandLists(text.replace(slot[0], value), lists));
}
