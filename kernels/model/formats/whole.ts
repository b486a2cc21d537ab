/**
 * Proves, before a byte is copied, that tensors are those of one whole v5.2 model.
 *
 * What is something else is refused by its own name and with what to do: other versions with
 * `MODEL_VERSION`; adapters, tuned states and files that the rwkv pip package rewrote with
 * `MODEL_KIND`; a model with tensors missing, unknown or misshapen with `MODEL_BROKEN`.
 */
import { ModelError } from "#kernels/errors.ts";
import { canonicalTensors, type ModelConfig } from "../config.ts";
import { worldGroupNormEps } from "../description.ts";
import { readConfig } from "../read-config.ts";
import type { Dtype } from "../safetensors-header.ts";
import type { Weights, SourceTensor } from "./container.ts";
import { canonicalNames, type Dialect, dialectOf } from "./names.ts";
import { shown } from "./refusal.ts";

/** A canonical name and shape, and where its bytes lie. */
export interface WholeTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly source: SourceTensor;
}

export interface WholeModel {
  readonly dialect: Dialect;
  /** In canonical order. */
  readonly tensors: readonly WholeTensor[];
  /** Its eps of the norm is a World model's; nothing else here depends on it. */
  readonly config: ModelConfig;
  readonly embeddingType: Dtype;
}

/** `path` only names the weights in an error. */
export function wholeModel(weights: Weights, path: string): WholeModel {
  const found = weights.tensors.map(({ name }) => name);
  const other = otherKind(found, weights.others);
  if (other !== null) throw new ModelError("MODEL_KIND", { path, reason: other });

  const dialect = dialectOf(found, weights.container);
  const sources = new Map<string, SourceTensor>();
  canonicalNames(found, dialect).forEach((name, index) => {
    if (sources.has(name)) throw broken(path, `duplicate-tensor: ${shown(name)} by two names`);
    sources.set(name, weights.tensors[index]!);
  });
  const options = { groupNormEps: worldGroupNormEps, variant: null };
  const config = readConfig({ path, tensors: sources }, options);
  const tensors = [...canonicalTensors(config)].map(([name, shape]) => {
    return { name, shape, source: sources.get(name)! };
  });
  return { dialect, tensors, config, embeddingType: sources.get("emb.weight")!.dtype };
}

/** What the file is, when it is no set of plain weights. */
function otherKind(names: readonly string[], others: readonly string[]): string | null {
  const pip = others.some((name) => ["_strategy", "_version", "_rescale_layer"].includes(name));
  if (pip || names.some((name) => /\.weight_[mr][xy]$/.test(name))) {
    return "pip-converted: rewritten by the rwkv pip package; take the .pth that it was made from";
  }
  if (names.some((name) => /\.(init_)?lora[._]|\.(bone|disha|miss)$/i.test(name))) {
    return "lora: an adapter without its base model; merge it into its base and convert the result";
  }
  const states = names.filter((name) => name.endsWith(".time_state"));
  if (states.length > 0 && states.length === names.length) {
    return "tuned-state: a state without a model; convert the model that it was tuned on";
  }
  if (states.length > 0) {
    return "merged-state: a tuned state is merged into it; take the model without time_state";
  }
  return null;
}

function broken(path: string, reason: string): ModelError {
  return new ModelError("MODEL_BROKEN", { path, reason });
}
