/**
 * `model.json`: what a model directory says about itself. Anything unknown in it is refused.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ModelError, systemErrorCode } from "#kernels/errors.ts";

/** ChatRWKV, rwkv/model.py: 1e-5 · 8², because training divides the input of the norm by 8. */
export const worldGroupNormEps = 64e-5;

/** A name inside the directory: a model may not point elsewhere on the disk. */
const fileName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, "must be a plain file name");

/** How far a variant's predictions are from those of the weights it was made from. */
const qualitySchema = z.strictObject({
  /** Predictions compared. */
  tokens: z.number().int().min(1),
  /** Mean of KL(fp32 ‖ variant) in nats. */
  meanKl: z.number().min(0),
  /** Share of predictions whose likeliest token is the same. */
  top1Agreement: z.number().min(0).max(1),
});

export type VariantQuality = z.infer<typeof qualitySchema>;

const variantSchema = z.strictObject({
  weights: fileName,
  /** Of numbers that share a scale. */
  block: z.union([z.literal(32), z.literal(128)]),
  quality: qualitySchema.optional(),
});

const descriptionSchema = z.strictObject({
  format: z.literal(1),
  name: z.string().min(1).max(100),
  /** Null when only quantised variants are there. */
  weights: fileName.nullable().default("weights.safetensors"),
  quantised: z.strictObject({ q8: variantSchema, q4: variantSchema }).partial().optional(),
  vocabulary: fileName.optional(),
  groupNormEps: z.number().positive().max(1).default(worldGroupNormEps),
  /** What the model's maker recommends; whoever samples may differ. */
  sampling: z
    .strictObject({
      temperature: z.number().min(0),
      topP: z.number().min(0).max(1),
      presencePenalty: z.number(),
      frequencyPenalty: z.number(),
      penaltyDecay: z.number().min(0).max(1),
    })
    .partial()
    .optional(),
  /** Free words about the model: languages, licence, training. */
  card: z.record(z.string(), z.unknown()).optional(),
});

export type ModelDescription = z.infer<typeof descriptionSchema>;

export async function readDescription(directory: string): Promise<ModelDescription> {
  const path = join(directory, "model.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const missing = ["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "");
    const code = missing ? "MODEL_NOT_FOUND" : "MODEL_BROKEN";
    const reason = missing ? "no model.json" : (error as Error).message;
    throw new ModelError(code, { path: directory, reason }, { cause: error });
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ModelError("MODEL_BROKEN", { path, reason: "not JSON" }, { cause: error });
  }
  const description = descriptionSchema.safeParse(parsed);
  if (!description.success) {
    const [issue] = description.error.issues;
    const field = issue?.path.join(".") ?? "";
    const reason = `${field === "" ? "" : `${field}: `}${issue?.message ?? "invalid"}`;
    throw new ModelError("MODEL_BROKEN", { path, reason });
  }
  return description.data;
}
