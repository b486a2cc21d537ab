/**
 * What a quantised variant of a model holds: names, shapes and types of its tensors, as `format.md`
 * tables them. Pure; the file itself is safetensors and read by its reader.
 */
import { canonicalTensors, type ModelConfig } from "../config.ts";
import type { Dtype } from "../safetensors-header.ts";
import { type Bits, blocksPerRow, type BlockShape } from "./blocks.ts";

/** `none` is the weights as they came. */
export const quantisations = ["none", "q8", "q4"] as const;
export type Quantise = (typeof quantisations)[number];
export type QuantisedKind = Exclude<Quantise, "none">;

/**
 * With 32 a row of a batch gives the same bits whatever its mates, with 128 it may not: onnxruntime's
 * kernels for longer blocks add up in another order when there are several rows (measured).
 */
export const blockSizes = [32, 128] as const;
export type BlockSize = (typeof blockSizes)[number];
export const blockDefault: BlockSize = 32;

export interface Variant {
  readonly quantise: QuantisedKind;
  readonly block: BlockSize;
}

/** For a numeric class: `none`, `q4`, or `q4-b128` with another block than the default. */
export function variantName(variant: Variant | null): string {
  if (variant === null) return "none";
  const { quantise, block } = variant;
  return block === blockDefault ? quantise : `${quantise}-b${block}`;
}

/** For the file's own metadata. */
export const variantFormat = "eyrie-quantised-1";

export function variantFileName(kind: QuantisedKind): string {
  return `weights.${kind}.safetensors`;
}

export const codesSuffix = ".codes";
export const scalesSuffix = ".scales";

/** All but the embedding, which is looked up and never multiplied. */
export function isQuantisedMatrix(name: string, shape: readonly number[]): boolean {
  return shape.length === 2 && name.endsWith(".weight") && name !== "emb.weight";
}

/** The head has 8 bits in every variant: its errors reach the logits directly. */
export function bitsOf(name: string, kind: QuantisedKind): Bits {
  return kind === "q8" || name === "head.weight" ? 8 : 4;
}

export interface VariantTensor {
  readonly name: string;
  /** Null: F32, F16 or BF16. */
  readonly dtype: Dtype | null;
  readonly shape: readonly number[];
}

/** Every tensor of a variant in canonical order; of a matrix first the scales, then the codes. */
export function variantTensors(config: ModelConfig, variant: Variant): VariantTensor[] {
  return [...canonicalTensors(config)].flatMap(([name, shape]): VariantTensor[] => {
    if (!isQuantisedMatrix(name, shape)) return [{ name, dtype: null, shape }];
    const [rows = 0, columns = 0] = shape;
    const blocks = blockShape(name, columns, variant);
    const perRow = blocksPerRow(blocks);
    const blockBytes = (blocks.block * blocks.bits) / 8;
    return [
      { name: `${name}${scalesSuffix}`, dtype: "F32", shape: [rows, perRow] },
      { name: `${name}${codesSuffix}`, dtype: "U8", shape: [rows, perRow, blockBytes] },
    ];
  });
}

export function blockShape(name: string, columns: number, variant: Variant): BlockShape {
  return { bits: bitsOf(name, variant.quantise), block: variant.block, columns };
}

/**
 * What the file's metadata and tensors say of its variant; a reason in words when they say nothing or
 * contradict themselves. `kind` is what it is expected to be.
 */
export function readVariant(
  metadata: ReadonlyMap<string, string>,
  kind: QuantisedKind,
): { readonly variant: Variant; readonly source: string } | { readonly reason: string } {
  const format = metadata.get("format");
  if (format !== variantFormat) return { reason: `variant-format: not ${variantFormat}` };
  const quantise = metadata.get("quantise");
  if (quantise !== kind) return { reason: `variant-kind: not ${kind}` };
  const block = blockSizes.find((size) => String(size) === metadata.get("block"));
  if (block === undefined) return { reason: `variant-block: not one of ${blockSizes.join(", ")}` };
  const source = metadata.get("source");
  if (source === undefined || !/^[0-9a-f]{64}$/.test(source)) {
    return { reason: "variant-source: no SHA-256 of the weights it was made from" };
  }
  return { variant: { quantise: kind, block }, source };
}

export function variantMetadata(variant: Variant, source: string): Record<string, string> {
  const { quantise, block } = variant;
  return { format: variantFormat, quantise, block: String(block), source };
}

/** Canonical names with the rows and the padded columns that the codes have, to read sizes from. */
export function paddedShapes(
  tensors: Iterable<readonly [string, readonly number[]]>,
  kind: QuantisedKind,
): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const [name, shape] of tensors) {
    if (name.endsWith(scalesSuffix)) continue;
    if (!name.endsWith(codesSuffix)) {
      shapes.set(name, shape);
      continue;
    }
    const matrix = name.slice(0, -codesSuffix.length);
    const [rows = 0, perRow = 0, bytes = 0] = shape;
    shapes.set(matrix, [rows, (perRow * bytes * 8) / bitsOf(matrix, kind)]);
  }
  return shapes;
}
