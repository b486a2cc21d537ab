/**
 * Proves that a file of weights is a whole RWKV-v5.2 model, or a variant of one, and reads its shape.
 *
 * Believes names, shapes and types only, no weight is read. What does not hold is `MODEL_BROKEN` or
 * `MODEL_VERSION`, with the first difference in words.
 */
import { ModelError } from "#kernels/errors.ts";
import { canonicalTensors, type ModelConfig } from "./config.ts";
import {
  paddedShapes,
  type Variant,
  type VariantTensor,
  variantTensors,
} from "./quantise/layout.ts";
import { shown } from "./formats/refusal.ts";
import { isFloatDtype } from "./safetensors.ts";
import type { Dtype } from "./safetensors-header.ts";
import { detectVersion, versionAdvice } from "./version.ts";

const layerNormEps = 1e-5;
const headSizeMin = 8;
const headSizeMax = 128;

/** Named tensors, wherever they lie. */
export interface NamedTensors {
  /** For the words of a refusal. */
  readonly path: string;
  readonly tensors: ReadonlyMap<
    string,
    { readonly dtype: Dtype; readonly shape: readonly number[] }
  >;
}

/** Shapes to configuration, and the proof that the weights are what the configuration says. */
export function readConfig(
  weights: NamedTensors,
  { groupNormEps, variant }: { readonly groupNormEps: number; readonly variant: Variant | null },
): ModelConfig {
  const broken = (reason: string): ModelError =>
    new ModelError("MODEL_BROKEN", { path: weights.path, reason });
  const found = new Map([...weights.tensors].map(([name, { shape }]) => [name, shape] as const));
  const shapes = variant === null ? found : paddedShapes(found, variant.quantise);

  const version = detectVersion(shapes);
  if (version === null) throw broken("not-rwkv: no tensor blocks.0.att.time_decay");
  if (version !== "5.2") {
    const values = { path: weights.path, version, reason: versionAdvice[version] };
    throw new ModelError("MODEL_VERSION", values);
  }

  const [heads = 0, headSize = 0] = shapes.get("blocks.0.att.time_decay") ?? [];
  const [vocabSize = 0, width = 0] = shapes.get("emb.weight") ?? [];
  const [ffnWidth = 0] = shapes.get("blocks.0.ffn.key.weight") ?? [];
  const layers = countLayers(shapes.keys());
  if (headSize < headSizeMin || headSize > headSizeMax) {
    throw broken(`head-size: ${headSize}, must be ${headSizeMin} to ${headSizeMax}`);
  }
  if (heads === 0 || vocabSize === 0 || ffnWidth === 0) {
    throw broken(`empty: ${heads} heads, ${vocabSize} tokens, channel-mix ${ffnWidth} wide`);
  }
  if (width !== heads * headSize) {
    throw broken(`width: emb.weight is ${width} wide, ${heads} heads of ${headSize} are not`);
  }
  const sizes = { layers, width, heads, headSize, ffnWidth, vocabSize };
  const config: ModelConfig = { version, ...sizes, groupNormEps, layerNormEps };
  const expected = expectedTensors(config, variant);
  const mismatch = compareTensors(
    found,
    new Map(expected.map(({ name, shape }) => [name, shape] as const)),
  );
  if (mismatch !== null) throw broken(mismatch);
  for (const { name, dtype } of expected) {
    const actual = weights.tensors.get(name)!.dtype;
    if (dtype === null ? isFloatDtype(actual) : dtype === actual) continue;
    const wanted = dtype === null ? "F32, F16 and BF16 are read" : `${dtype} is read`;
    throw broken(`dtype-not-read: ${name} is ${actual}; ${wanted}`);
  }
  return config;
}

function expectedTensors(config: ModelConfig, variant: Variant | null): readonly VariantTensor[] {
  if (variant !== null) return variantTensors(config, variant);
  return [...canonicalTensors(config)].map(([name, shape]) => ({ name, dtype: null, shape }));
}

/** One more than the highest block named, so that a block missing in between is missed by name. */
function countLayers(names: Iterable<string>): number {
  let layers = 0;
  for (const name of names) {
    const block = /^blocks\.(\d{1,3})\./.exec(name)?.[1];
    if (block !== undefined) layers = Math.max(layers, Number(block) + 1);
  }
  return layers;
}

/** The first difference in words, or null. Names at most three tensors of a kind. */
function compareTensors(
  found: ReadonlyMap<string, readonly number[]>,
  expected: ReadonlyMap<string, readonly number[]>,
): string | null {
  const missing = [...expected.keys()].filter((name) => !found.has(name));
  if (missing.length > 0) return `missing-tensor: ${listed(missing)}`;
  const unknown = [...found.keys()].filter((name) => !expected.has(name));
  if (unknown.length > 0) return `unknown-tensor: ${listed(unknown)}`;
  for (const [name, shape] of expected) {
    const actual = found.get(name) ?? [];
    if (squeezed(actual) !== squeezed(shape)) {
      return `shape: ${name} is [${actual.join(", ")}], expected [${shape.join(", ")}]`;
    }
  }
  return null;
}

/** BlinkDL stores vectors as [1, 1, D]; extents of 1 change no byte. */
function squeezed(shape: readonly number[]): string {
  return shape.filter((extent) => extent !== 1).join("x");
}

function listed(names: readonly string[]): string {
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  // A canonical name needs no quotes; others are a stranger's words.
  const told = names.slice(0, 3).map((name) => (/^[\w.]{1,80}$/.test(name) ? name : shown(name)));
  return `${told.join(", ")}${more}`;
}
