/**
 * A model directory for the scripted backend: a vocabulary of its own, which no training changes (the
 * fixtures of `test/faults` were recorded with it), and hardly any weights.
 */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

const vocabulary = "vocab.txt";
/** For models of tests; `size` holds its ids and the reserved 0. */
export const testVocabulary = { path: join(import.meta.dirname, vocabulary), size: 3_072 } as const;
export const scriptedModelName = "scripted";

export function writeScriptedModel(directory: string): void {
  const shape = { layers: 1, heads: 1, headSize: 8, ffnWidth: 8, vocabSize: testVocabulary.size };
  writeRandomModel(directory, shape, { seed: 1, name: scriptedModelName });
  copyFileSync(testVocabulary.path, join(directory, vocabulary));
  const path = join(directory, "model.json");
  const described = JSON.parse(readFileSync(path, "utf8")) as object;
  writeFileSync(path, JSON.stringify({ ...described, vocabulary, sampling: { temperature: 0 } }));
}

export function scriptedTokenizer(): Tokenizer {
  return Tokenizer.open(testVocabulary.path);
}
