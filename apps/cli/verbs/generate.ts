/**
 * `eyrie generate`: the model alone, streaming; no Redis, no conversation. From a text to text, or from
 * token ids to token ids, for which the model needs no vocabulary.
 */
import { defaultSampling } from "#infra/config/model-card.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { feed, openBackend } from "../backend.ts";
import { openTokenizer } from "./tokenize.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";

const endOfText = 0;

export interface GenerateOptions {
  readonly model: string;
  readonly prompt?: string;
  readonly tokens?: readonly number[];
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly seed: string;
  readonly backend: string;
  readonly quantise?: Quantise;
  readonly json?: true;
}

/** Turns what is drawn into what is printed. */
interface Writer {
  readonly prompt: readonly number[];
  token(id: number): string;
  end(): string;
}

export async function generate(options: GenerateOptions): Promise<void> {
  const writer = await writerFor(options);
  const backend = await openBackend(options.backend, options.model, { quantise: options.quantise });
  const { seed, temperature, topP, presencePenalty, frequencyPenalty } = options;
  const { penaltyDecay } = defaultSampling;
  const sampling = { temperature, topP, presencePenalty, frequencyPenalty, penaltyDecay };
  const ids: number[] = [];
  let text = "";
  const write = (piece: string): void => {
    text += piece;
    if (options.json !== true) process.stdout.write(piece);
  };
  try {
    let tokens = writer.prompt;
    while (ids.length < options.maxTokens) {
      const sample = { seed, draw: ids.length, ...sampling };
      const row = await feed(backend, { slot: 0, tokens, want: "none", sample });
      if (row === undefined || row.token === null) throw new EyrieError("TURN_NOT_FINITE");
      if (row.token === endOfText) break;
      ids.push(row.token);
      write(writer.token(row.token));
      tokens = [row.token];
    }
    write(writer.end());
  } finally {
    backend.close();
  }
  const json = options.tokens === undefined ? { text, tokens: ids } : { tokens: ids };
  process.stdout.write(options.json === true ? `${JSON.stringify(json)}\n` : "\n");
}

async function writerFor({ model, prompt, tokens }: GenerateOptions): Promise<Writer> {
  if ((prompt === undefined) === (tokens === undefined)) {
    throw new EyrieError("USAGE", { reason: "give either --prompt or --tokens" });
  }
  if (tokens !== undefined) {
    let before = "";
    return {
      prompt: tokens,
      token: (id) => {
        const piece = `${before}${id}`;
        before = ",";
        return piece;
      },
      end: () => "",
    };
  }
  const tokenizer = await openTokenizer(model);
  const ids = tokenizer.encode(prompt ?? "");
  if (ids.length === 0) throw new EyrieError("USAGE", { reason: "--prompt is empty" });
  const stream = tokenizer.stream();
  return { prompt: ids, token: (id) => stream.push(id), end: () => stream.flush() };
}
