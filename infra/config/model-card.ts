/**
 * What a process that runs no model must know of one: its name (the wake queue) and how its maker
 * wants it sampled. The weights and the rest of `model.json` are the worker's business.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { EyrieError } from "#infra/errors/error.ts";
import type { Sampling } from "#infra/turn/index.ts";

export interface ModelCard {
  readonly name: string;
  readonly sampling: Sampling;
}

/** The reference pipeline's values for chat. */
export const defaultSampling: Sampling = {
  temperature: 1,
  topP: 0.3,
  presencePenalty: 0.3,
  frequencyPenalty: 0.3,
  penaltyDecay: 0.996,
};

const cardSchema = z.object({
  name: z.string().min(1).max(100),
  sampling: z
    .object({
      temperature: z.number().min(0).default(defaultSampling.temperature),
      topP: z.number().min(0).max(1).default(defaultSampling.topP),
      presencePenalty: z.number().default(defaultSampling.presencePenalty),
      frequencyPenalty: z.number().default(defaultSampling.frequencyPenalty),
      penaltyDecay: z.number().min(0).max(1).default(defaultSampling.penaltyDecay),
    })
    .default(defaultSampling),
});

/** Throws MODEL_NOT_FOUND without a `model.json`, MODEL_BROKEN when it cannot be read. */
export async function readModelCard(directory: string): Promise<ModelCard> {
  const path = join(directory, "model.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new EyrieError(
      "MODEL_NOT_FOUND",
      { path: directory, reason: "no model.json" },
      { cause },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EyrieError("MODEL_BROKEN", { path, reason: "not JSON" }, { cause });
  }
  const card = cardSchema.safeParse(value);
  if (card.success) return card.data;
  const issue = card.error.issues[0];
  const reason = `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`;
  throw new EyrieError("MODEL_BROKEN", { path, reason });
}
