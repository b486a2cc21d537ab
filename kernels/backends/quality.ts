/**
 * What quantisation costs: how far a variant's predictions are from those of the weights it was made
 * from, over one fixed text (`quality-text.ts`), each token predicted from all before it.
 *
 * Both are run by the same backend, one after the other, so memory holds one of them at a time and the
 * logits of the unquantised one. It is not measured, and says why, where the model has no vocabulary
 * or does not fit the machine's memory unquantised.
 */
import { availableMemory } from "node:process";
import type { Backend, OpenBackend } from "#kernels/backends/contract.ts";
import { qualityText } from "#kernels/backends/quality-text.ts";
import { canonicalTensors } from "#kernels/model/config.ts";
import type { VariantQuality } from "#kernels/model/description.ts";
import { type Model, openModel } from "#kernels/model/model.ts";
import type { QuantisedKind } from "#kernels/model/quantise/layout.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

/** Of the text's beginning; its end is cut where a small vocabulary needs more tokens. */
export const qualityTokensMax = 768;
/** Fed at once: bounds the logits that lie in memory. */
const tokensAtOnce = 32;
/** Of an open session against its weights in fp32: packed copies and activations (measured: 1.2). */
const memoryFactor = 1.3;

export interface QualityOptions {
  readonly open: OpenBackend;
  readonly threads: number;
  /** That may be used; left out: what the machine has free. */
  readonly memoryBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Predictions made, and how many there will be. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export type QualityReport =
  | { readonly measured: ReadonlyMap<QuantisedKind, VariantQuality> }
  | { readonly skipped: "no-vocabulary" | "memory"; readonly neededBytes: number };

/** Compares variants of a model directory with its unquantised weights. */
export async function measureQuality(
  directory: string,
  kinds: readonly QuantisedKind[],
  options: QualityOptions,
): Promise<QualityReport> {
  const model = await openModel(directory, { quantise: "none" });
  model.close();
  const neededBytes = memoryFactor * fp32Bytes(model);
  if (model.vocabularyPath === null) return { skipped: "no-vocabulary", neededBytes };
  const { memoryBytes = availableMemory() } = options;
  if (neededBytes > memoryBytes) return { skipped: "memory", neededBytes };
  const tokens = Tokenizer.open(model.vocabularyPath)
    .encode(qualityText)
    .slice(0, qualityTokensMax);

  let done = 0;
  const total = tokens.length * (kinds.length + 1);
  const predict = async (quantise: QuantisedKind | "none", use: Predictions): Promise<void> => {
    const limits = { slots: 1, threads: options.threads };
    const backend = await options.open(directory, limits, { quantise });
    try {
      await eachPrediction(backend, tokens, (logits, index) => {
        options.signal?.throwIfAborted();
        use(logits, index);
        options.onProgress?.(++done, total);
      });
    } finally {
      backend.close();
    }
  };
  const plain: Float32Array[] = [];
  await predict("none", (logits) => plain.push(logits.slice()));
  const measured = new Map<QuantisedKind, VariantQuality>();
  for (const kind of kinds) {
    let [divergence, agreements] = [0, 0];
    await predict(kind, (logits, index) => {
      divergence += klDivergence(plain[index]!, logits);
      if (likeliest(plain[index]!) === likeliest(logits)) agreements++;
    });
    measured.set(kind, {
      tokens: tokens.length,
      // Rounding may leave a sum of many tiny terms below 0.
      meanKl: Math.max(0, divergence / tokens.length),
      top1Agreement: agreements / tokens.length,
    });
  }
  return { measured };
}

type Predictions = (logits: Float32Array, index: number) => void;

async function eachPrediction(
  backend: Backend,
  tokens: readonly number[],
  use: Predictions,
): Promise<void> {
  const { vocabSize } = backend.config;
  for (let from = 0; from < tokens.length; from += tokensAtOnce) {
    const part = tokens.slice(from, from + tokensAtOnce);
    const [row] = await backend.step({ rows: [{ slot: 0, tokens: part, want: "all" }] });
    part.forEach((_, t) =>
      use(row!.logits!.subarray(t * vocabSize, (t + 1) * vocabSize), from + t),
    );
  }
}

/** KL(p ‖ q) in nats of the distributions that two rows of logits stand for. */
export function klDivergence(p: Float32Array, q: Float32Array): number {
  const [pNorm, qNorm] = [logSumExp(p), logSumExp(q)];
  let divergence = 0;
  for (let i = 0; i < p.length; i++) {
    const logP = p[i]! - pNorm;
    divergence += Math.exp(logP) * (logP - (q[i]! - qNorm));
  }
  return divergence;
}

function logSumExp(logits: Float32Array): number {
  const most = logits[likeliest(logits)]!;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  return most + Math.log(sum);
}

function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

function fp32Bytes({ config }: Model): number {
  const shapes = [...canonicalTensors(config).values()];
  return 4 * shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
}
