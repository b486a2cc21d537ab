/** Facts that no training line holds: told, then asked two turns later; or asked without being told. */
import { readIntents } from "./corpus.ts";
import type { Prompt, Speaker } from "./speaker.ts";

const factsPerLanguage = 100;

export interface FactFigures {
  /** Percent of the facts told that the reply names two turns later. */
  readonly told: number;
  /** Percent that it names without having been told, as after a reset: chance. */
  readonly untold: number;
}

interface Fact {
  readonly tell: string;
  readonly ask: string;
  readonly value: string;
}

/** A small linear congruence: the same facts at every run. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const syllables = ["ba", "ke", "lo", "mi", "nu", "ra", "se", "ti", "vo", "ya", "den", "rik", "mar"];

function aName(next: (below: number) => number): string {
  const parts = Array.from({ length: 2 + next(2) }, () => syllables[next(syllables.length)] ?? "");
  const name = parts.join("");
  return name.slice(0, 1).toUpperCase() + name.slice(1);
}

/** The language's own way to tell and ask a name, a colour and a number. */
function factsOf(language: string): Fact[] {
  const intents = readIntents(language);
  const next = generator(7);
  const lines = (intent: string): string[] => intents.get(intent)?.questions ?? [];
  const pick = (list: readonly string[]): string => list[next(list.length)] ?? "";
  const colours = readColours(language);
  return Array.from({ length: factsPerLanguage }, (_, index) => {
    const kind = (["name", "colour", "number"] as const)[index % 3] ?? "name";
    const value =
      kind === "name" ? aName(next) : kind === "colour" ? pick(colours) : String(100 + next(9_000));
    const slot = kind === "colour" ? "{user_colour}" : `{${kind}}`;
    const tell = pick(lines(`${kind}.tell`)).replaceAll(slot, value);
    return { tell, ask: pick(lines(`${kind}.recall`)), value };
  });
}

function readColours(language: string): readonly string[] {
  const told = readIntents(language).get("colour.tell");
  return told?.lists?.["user_colour"] ?? [];
}

export async function askFacts(
  speaker: Speaker,
  languages: readonly string[],
): Promise<Record<string, FactFigures>> {
  const figures: Record<string, FactFigures> = {};
  for (const language of languages) {
    const facts = factsOf(language);
    const greeting = readIntents(language).get("greeting")?.questions[0] ?? "";
    const named = async (prompts: readonly Prompt[]): Promise<number> => {
      const replies = await speaker.answer(prompts);
      const right = replies.filter(({ text }, index) =>
        text.toLowerCase().includes((facts[index]?.value ?? "").toLowerCase()),
      );
      return Number(((100 * right.length) / facts.length).toFixed(1));
    };
    figures[language] = {
      told: await named(facts.map(({ tell, ask }) => ({ earlier: [tell, greeting], text: ask }))),
      untold: await named(facts.map(({ ask }) => ({ earlier: [greeting], text: ask }))),
    };
  }
  return figures;
}
