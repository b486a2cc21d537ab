/**
 * Proves, before a byte is copied, that tensors are those of one whole v5.2 model.
 *
 * What is something else is refused by its own name and with what to do: other versions with
 * `MODEL_VERSION`; adapters, tuned states and files that the rwkv pip package rewrote with
 * `MODEL_KIND`; a model with tensors missing, unknown or misshapen with `MODEL_BROKEN`.
 */
import { ModelError } from "#kernels/errors.ts";
import { canonicalTensors, type ModelConfig } from "../config.ts";
import { worldGroupNormEps } from "../model.ts";
import { isFloatDtype } from "../safetensors.ts";
import { detectVersion, versionAdvice } from "../version.ts";
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
  readonly vocabSize: number;
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
  const shapes = new Map([...sources].map(([name, { shape }]) => [name, shape] as const));
  refuseOtherVersions(shapes, path);

  const config = sizesOf(shapes, path);
  const tensors = [...canonicalTensors(config)].map(([name, shape]) => {
    const source = sources.get(name);
    if (source === undefined) throw broken(path, `missing-tensor: ${name}`);
    if (squeezed(source.shape) !== squeezed(shape)) {
      const [is, wanted] = [source.shape.join(", "), shape.join(", ")];
      throw broken(path, `shape: ${name} is [${is}], expected [${wanted}]`);
    }
    if (!isFloatDtype(source.dtype)) {
      throw broken(path, `dtype-not-read: ${name} is ${source.dtype}; F32, F16 and BF16 are read`);
    }
    sources.delete(name);
    return { name, shape, source };
  });
  const [unknown] = sources.keys();
  if (unknown !== undefined) throw broken(path, `unknown-tensor: ${shown(unknown)}`);
  return { dialect, tensors, vocabSize: config.vocabSize };
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

function refuseOtherVersions(shapes: ReadonlyMap<string, readonly number[]>, path: string): void {
  const version = detectVersion(shapes);
  if (version === null) throw broken(path, "not-rwkv: no tensor blocks.0.att.time_decay");
  if (version !== "5.2") {
    throw new ModelError("MODEL_VERSION", { path, version, reason: versionAdvice[version] });
  }
}

function sizesOf(shapes: ReadonlyMap<string, readonly number[]>, path: string): ModelConfig {
  const [heads = 0, headSize = 0] = shapes.get("blocks.0.att.time_decay") ?? [];
  const [vocabSize = 0, width = 0] = shapes.get("emb.weight") ?? [];
  const [ffnWidth = 0] = shapes.get("blocks.0.ffn.key.weight") ?? [];
  const blocks = [...shapes.keys()].map((name) => /^blocks\.(\d{1,3})\./.exec(name)?.[1]);
  const layers = Math.max(...blocks.map((block) => Number(block ?? -1) + 1));
  if (headSize < 8 || headSize > 128 || heads === 0 || vocabSize === 0 || ffnWidth === 0) {
    const sizes = `${heads} heads of ${headSize}, ${vocabSize} tokens, channel-mix ${ffnWidth}`;
    throw broken(path, `size: ${sizes}`);
  }
  if (width !== heads * headSize) {
    throw broken(path, `width: emb.weight is ${width} wide, ${heads} heads of ${headSize} are not`);
  }
  const sizes = { layers, width, heads, headSize, ffnWidth, vocabSize };
  return { version: "5.2", ...sizes, groupNormEps: worldGroupNormEps, layerNormEps: 1e-5 };
}

/** BlinkDL stores vectors as [1, 1, D]; extents of 1 change no byte. */
function squeezed(shape: readonly number[]): string {
  return shape.filter((extent) => extent !== 1).join("x");
}

function broken(path: string, reason: string): ModelError {
  return new ModelError("MODEL_BROKEN", { path, reason });
}
