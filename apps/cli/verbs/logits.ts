/** `eyrie logits`: what the model expects after some tokens; the same on every backend. */
import { ModelError } from "#kernels/errors.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";
import { feed, openBackend } from "../backend.ts";

export async function logits(options: {
  readonly model: string;
  readonly tokens: readonly number[];
  readonly backend: string;
  readonly quantise?: Quantise;
  readonly top?: number;
}): Promise<void> {
  const backend = await openBackend(options.backend, options.model, { quantise: options.quantise });
  try {
    const { vocabSize } = backend.config;
    const outside = options.tokens.find((token) => token >= vocabSize);
    if (outside !== undefined) {
      throw new ModelError("TOKEN_OUT_OF_RANGE", { token: outside, vocabSize });
    }
    const row = await feed(backend, { slot: 0, tokens: options.tokens, want: "last" });
    const values = [...(row?.logits ?? [])];
    const output =
      options.top === undefined ? { logits: values } : { top: top(values, options.top) };
    process.stdout.write(`${JSON.stringify(output)}\n`);
  } finally {
    backend.close();
  }
}

function top(values: readonly number[], count: number): { token: number; logit: number }[] {
  return values
    .map((logit, token) => ({ token, logit }))
    .sort((a, b) => b.logit - a.logit)
    .slice(0, count);
}
