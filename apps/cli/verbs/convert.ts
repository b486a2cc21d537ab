/**
 * `eyrie model convert`: weights as people download them into a model directory.
 *
 * Ctrl-C leaves nothing behind. What was made is printed as `model inspect` does it; what quantisation
 * costs is measured by the onnx backend, with all cores, and told.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { loadConfig } from "#infra/config/config.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { exitWithParent } from "#infra/setup/parent.ts";
import { physicalCores } from "#infra/process/cores.ts";
import { convertModel, type CheckedVocabulary, type Qualities } from "#kernels/model/convert.ts";
import type { BlockSize, Quantise, QuantisedKind } from "#kernels/model/quantise/layout.ts";
import { readVocabulary } from "#kernels/tokenizer/vocabulary.ts";
import { bytes } from "../output.ts";
import { ProgressBar } from "../progress.ts";
import { askedToStop } from "../stop.ts";
import { folderName, inspect, rawFile } from "./inspect.ts";

export interface ConvertVerbOptions {
  readonly out: string;
  readonly vocab?: string;
  readonly groupNormEps?: number;
  readonly name?: string;
  readonly quantise: readonly Quantise[];
  readonly block: `${BlockSize}`;
  readonly quality: boolean;
  readonly force?: true;
  readonly json?: true;
}

export async function convert(input: string, options: ConvertVerbOptions): Promise<void> {
  exitWithParent();
  const { vocab, groupNormEps, name, quantise, force, json } = options;
  // Now: the current folder itself may be the one that is replaced.
  const out = resolve(options.out);
  const locale = loadConfig(process.env).EYRIE_LOCALE;
  const translator = await loadTranslator();
  const text: Text = (key, values = {}) => translator.text(locale, `terminal:${key}`, values);
  const timeLeft = (time: string): string => text("pull.left", { time });
  const asked = askedToStop();
  let bar: ProgressBar | undefined;
  const work = { text, timeLeft, signal: asked, begin: () => bar?.clear() };
  try {
    await convertModel(rawFile(input), out, {
      vocabulary: vocab === undefined ? undefined : vocabularyFrom(vocab),
      groupNormEps,
      name: name ?? folderName(input),
      quantise,
      block: options.block === "128" ? 128 : 32,
      measure: options.quality ? (directory, kinds) => measure(directory, kinds, work) : undefined,
      force,
      signal: asked,
      onPlan: (plan) => {
        process.stderr.write(`${plan.from}: ${plan.tensors} tensors, ${bytes(plan.bytes)}\n`);
        bar = new ProgressBar("convert", plan.bytes, { timeLeft });
      },
      onProgress: (done) => bar?.update(done),
    });
  } finally {
    bar?.clear();
  }
  await inspect(out, json === undefined ? {} : { json });
  if (!hasVocabulary(out)) {
    process.stderr.write(`${text("convert.noVocabulary", { directory: out })}\n`);
  }
}

type Text = (key: string, values?: Readonly<Record<string, string>>) => string;

/** Compares the variants that were just written with the weights they were made from, and says so. */
async function measure(
  directory: string,
  kinds: readonly QuantisedKind[],
  work: {
    readonly text: Text;
    readonly timeLeft: (time: string) => string;
    readonly signal: AbortSignal;
    readonly begin: () => void;
  },
): Promise<Qualities> {
  const { text, timeLeft, signal } = work;
  work.begin();
  const { measureQuality, qualityTokensMax } = await import("#kernels/backends/quality.ts");
  const { openOnnx } = await import("#kernels/backends/onnx/onnx.ts");
  say(text("convert.measuring", { tokens: String(qualityTokensMax) }));
  let bar: ProgressBar | undefined;
  try {
    const report = await measureQuality(directory, kinds, {
      open: openOnnx,
      threads: physicalCores(),
      signal,
      onProgress: (done, total) => {
        bar ??= new ProgressBar("quality", total, { timeLeft, amount: String });
        bar.update(done);
      },
    });
    bar?.clear();
    if ("measured" in report) {
      for (const [kind, quality] of report.measured) {
        const [meanKl, top1] = [quality.meanKl.toPrecision(3), percent(quality.top1Agreement)];
        const tokens = String(quality.tokens);
        say(text("convert.quality", { kind, meanKl, top1, tokens }));
      }
      return report.measured;
    }
    say(text(`convert.skipped.${report.skipped}`, { needed: bytes(report.neededBytes) }));
    return new Map();
  } finally {
    bar?.clear();
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function hasVocabulary(directory: string): boolean {
  return existsSync(join(directory, "vocab.txt"));
}

function vocabularyFrom(path: string): CheckedVocabulary {
  const tokenIdMax = readVocabulary(path).length - 1;
  return { path, bytes: readFileSync(path), tokenIdMax };
}
