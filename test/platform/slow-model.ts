/**
 * A model that talks long and slowly: random weights of a chosen width over the tests' vocabulary. Its
 * words mean nothing and never end by themselves, so streams live as long as a test needs.
 */
import { closeSync, copyFileSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { SafetensorsFile } from "#kernels/model/safetensors.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
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
  neverEnding(join(directory, "weights.safetensors"));
  copyFileSync(testVocabulary.path, join(directory, "vocab.txt"));
  const path = join(directory, "model.json");
  const described = JSON.parse(readFileSync(path, "utf8")) as object;
  const sampling = { temperature: 1, topP: 1, presencePenalty: 0.3, frequencyPenalty: 0.3 };
  writeFileSync(path, JSON.stringify({ ...described, vocabulary: "vocab.txt", sampling }));
}

/**
 * The head is given one input that is always about 8, of which every token makes nothing, but those that
 * could end a reply make a logit of about -32.
 */
function neverEnding(path: string): void {
  const file = SafetensorsFile.open(path);
  const head = file.location("head.weight");
  const bias = file.location("ln_out.bias");
  file.close();
  const tokenizer = Tokenizer.open(testVocabulary.path);
  const newline = "\n".charCodeAt(0);
  const ends = (token: number): boolean =>
    token === 0 || tokenizer.bytesOf(token).includes(newline);
  const descriptor = openSync(path, "r+");
  writeSync(descriptor, half[8], 0, 2, bias.offset);
  for (let token = 0; token < testVocabulary.size; token++) {
    const row = head.offset + (token * head.bytes) / testVocabulary.size;
    writeSync(descriptor, half[ends(token) ? -4 : 0], 0, 2, row);
  }
  closeSync(descriptor);
}

/** IEEE 754 binary16, little-endian. */
const half = {
  0: Uint8Array.of(0, 0),
  8: Uint8Array.of(0, 0x48),
  [-4]: Uint8Array.of(0, 0xc4),
} as const;
