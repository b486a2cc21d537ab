/**
 * Tells the RWKV version of a set of weights from tensor names and shapes, never from a file name.
 * Rules as in ChatRWKV's `rwkv/model.py`; the words for the reader say what to do with the others.
 */

export type RwkvVersion = "4" | "5.0" | "5.1" | "5.2" | "6" | "7";

/** Null when the names are not those of an RWKV model at all. */
export function detectVersion(shapes: ReadonlyMap<string, readonly number[]>): RwkvVersion | null {
  const names = [...shapes.keys()];
  const has = (suffix: string): boolean => names.some((name) => name.endsWith(suffix));
  if (has("att.r_k") || has("att.x_r")) return "7";
  if (names.some((name) => name.includes("time_maa"))) return "6";
  if (!has("att.time_decay")) return null;
  if (!has("att.ln_x.weight")) return "4";
  if (!has("att.gate.weight")) return "5.0";
  const decay = shapes.get("blocks.0.att.time_decay") ?? [];
  return decay.length > 1 && decay[1]! > 1 ? "5.2" : "5.1";
}

/** What the owner of an unsupported model can do, by its version. */
export const versionAdvice: Readonly<Record<Exclude<RwkvVersion, "5.2">, string>> = {
  "4": "RWKV-v4 (Raven, Pile); take an RWKV-5 World v2 model of the same size",
  "5.0": "RWKV-v5.0 (World 0.1B of 2023-08); take RWKV-5 World v2 0.4B or larger",
  "5.1": "RWKV-v5.1 (one decay per head); take the World v2 release, which is v5.2",
  "6": "RWKV-v6 (Finch); take an RWKV-5 World v2 (Eagle) model",
  "7": "RWKV-v7 (Goose); take an RWKV-5 World v2 (Eagle) model",
};
