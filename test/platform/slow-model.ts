/**
 * A model that talks long and slowly: random weights of a chosen width over the tests' vocabulary. Its
 * words mean nothing and hardly ever end by themselves, so streams live as long as a test needs.
 */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { testVocabulary } from "#test/doubles/backend/model.ts";

export const slowModel = "slow";

export function writeSlowModel(
  directory: string,
  size: { readonly layers: number; readonly heads: number },
): void {
  const shape = {
    ...size,
    headSize: 64,
    ffnWidth: size.heads * 224,
    vocabSize: testVocabulary.size,
  };
  writeRandomModel(directory, shape, { seed: 11, dtype: "F16", name: slowModel });
  copyFileSync(testVocabulary.path, join(directory, "vocab.txt"));
  const path = join(directory, "model.json");
  const described = JSON.parse(readFileSync(path, "utf8")) as object;
  const sampling = { temperature: 1, topP: 1, presencePenalty: 0.3, frequencyPenalty: 0.3 };
  writeFileSync(path, JSON.stringify({ ...described, vocabulary: "vocab.txt", sampling }));
}
