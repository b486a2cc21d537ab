/** Telling rot from what an operator can mend. */
import type { Redis } from "ioredis";
import { EyrieError } from "#infra/errors/error.ts";
import { keysInUseKey } from "./keys.ts";

/**
 * The error, if it says that a record has rotted: RECORD_CORRUPT, or KEY_MISSING with a key that truth
 * does not know either, for then bits of the key's id have turned. Null for any other.
 */
export async function rotIn(error: unknown, truth: Redis): Promise<EyrieError | null> {
  if (!(error instanceof EyrieError)) return null;
  if (error.code === "RECORD_CORRUPT") return error;
  if (error.code !== "KEY_MISSING") return null;
  const { key, what } = error.values;
  if ((await truth.sismember(keysInUseKey, String(key))) === 1) return null;
  const values = { what: String(what), reason: "key id" };
  return new EyrieError("RECORD_CORRUPT", values, { cause: error });
}
