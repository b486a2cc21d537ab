/** A model directory for the scripted backend: Eaglet's vocabulary and hardly any weights. */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { ModelConfig } from "#kernels/model/config.ts";
import { openModel } from "#kernels/model/model.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

const eaglet = resolve(import.meta.dirname, "../../../kernels/models/eaglet");
const vocabulary = "vocab.txt";
export const scriptedModelName = "scripted";

export async function writeScriptedModel(directory: string): Promise<void> {
  const { vocabSize } = await shapeOf(eaglet);
  const shape = { layers: 1, heads: 1, headSize: 8, ffnWidth: 8, vocabSize };
  writeRandomModel(directory, shape, { seed: 1, name: scriptedModelName });
  copyFileSync(join(eaglet, vocabulary), join(directory, vocabulary));
  const path = join(directory, "model.json");
  const described = JSON.parse(readFileSync(path, "utf8")) as object;
  writeFileSync(path, JSON.stringify({ ...described, vocabulary, sampling: { temperature: 0 } }));
}

async function shapeOf(directory: string): Promise<ModelConfig> {
  const model = await openModel(directory);
  model.close();
  return model.config;
}

export function scriptedTokenizer(): Tokenizer {
  return Tokenizer.open(join(eaglet, vocabulary));
}
