/** `eyrie generate`: the model alone, streaming; no Redis, no conversation. */
import { defaultSampling } from "#infra/config/model-card.ts";
import { openBackend } from "../backend.ts";
import { openTokenizer } from "./tokenize.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";
import { EyrieError } from "#infra/errors/error.ts";

const endOfText = 0;

export async function generate(options: {
  readonly model: string;
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly seed: string;
  readonly backend: string;
  readonly quantise?: Quantise;
  readonly json?: true;
}): Promise<void> {
  const tokenizer = await openTokenizer(options.model);
  const prompt = tokenizer.encode(options.prompt);
  if (prompt.length === 0) throw new EyrieError("USAGE", { reason: "--prompt is empty" });
  const { seed, temperature, topP, presencePenalty, frequencyPenalty } = options;
  const { penaltyDecay } = defaultSampling;
  const sampling = { temperature, topP, presencePenalty, frequencyPenalty, penaltyDecay };
  const backend = await openBackend(options.backend, options.model, options.quantise);
  const stream = tokenizer.stream();
  const ids: number[] = [];
  let text = "";
  const write = (piece: string): void => {
    text += piece;
    if (options.json !== true) process.stdout.write(piece);
  };
  try {
    let tokens: readonly number[] = prompt;
    while (ids.length < options.maxTokens) {
      const sample = { seed, draw: ids.length, ...sampling };
      const [row] = await backend.step({ rows: [{ slot: 0, tokens, want: "none", sample }] });
      if (row === undefined || row.token === null) throw new EyrieError("TURN_NOT_FINITE");
      if (row.token === endOfText) break;
      ids.push(row.token);
      write(stream.push(row.token));
      tokens = [row.token];
    }
    write(stream.flush());
  } finally {
    backend.close();
  }
  process.stdout.write(options.json === true ? `${JSON.stringify({ text, tokens: ids })}\n` : "\n");
}
