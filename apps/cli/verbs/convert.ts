/**
 * `eyrie model convert`: weights as people download them into a model directory.
 *
 * Ctrl-C leaves nothing behind. What was made is printed as `model inspect` does it.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "#infra/config/config.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { exitWithParent } from "#infra/setup/parent.ts";
import { convertModel, type CheckedVocabulary } from "#kernels/model/convert.ts";
import { readVocabulary } from "#kernels/tokenizer/vocabulary.ts";
import { bytes } from "../output.ts";
import { ProgressBar } from "../progress.ts";
import { inspect } from "./model.ts";

export interface ConvertVerbOptions {
  readonly out: string;
  readonly vocab?: string;
  readonly groupNormEps?: number;
  readonly name?: string;
  readonly force?: true;
  readonly json?: true;
}

export async function convert(input: string, options: ConvertVerbOptions): Promise<void> {
  exitWithParent();
  const { out, vocab, groupNormEps, name, force, json } = options;
  const locale = loadConfig(process.env).EYRIE_LOCALE;
  const translator = await loadTranslator();
  const left = (time: string): string => translator.text(locale, "terminal:pull.left", { time });
  const asked = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => asked.abort());
  let bar: ProgressBar | undefined;
  try {
    await convertModel(input, out, {
      vocabulary: vocab === undefined ? undefined : vocabularyFrom(vocab),
      groupNormEps,
      name,
      force,
      signal: asked.signal,
      onPlan: (plan) => {
        process.stderr.write(`${plan.from}: ${plan.tensors} tensors, ${bytes(plan.bytes)}\n`);
        bar = new ProgressBar("convert", plan.bytes, left);
      },
      onProgress: (done) => bar?.update(done),
    });
  } finally {
    bar?.clear();
  }
  await inspect(out, json === undefined ? {} : { json });
  if (!hasVocabulary(out)) {
    const hint = translator.text(locale, "terminal:convert.noVocabulary", { directory: out });
    process.stderr.write(`${hint}\n`);
  }
}

function hasVocabulary(directory: string): boolean {
  return existsSync(join(directory, "vocab.txt"));
}

function vocabularyFrom(path: string): CheckedVocabulary {
  const tokenIdMax = readVocabulary(path).length - 1;
  return { path, bytes: readFileSync(path), tokenIdMax };
}
