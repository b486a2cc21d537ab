/**
 * Block quantisation of matrix rows, and the way back: pure, no file.
 *
 * A row of K numbers is cut into blocks of `block`; each has one fp32 scale s and per number a code c:
 *
 *     number ≈ (c − zero) · s        bits 8: zero 128        bits 4: zero 8
 *
 * The last block is padded with `zero` when K is no multiple. 4-bit codes lie two in a byte, the first
 * in the low half. That is what onnxruntime's MatMulNBits reads in place (`format.md`).
 */

export type Bits = 4 | 8;

export interface BlockShape {
  readonly bits: Bits;
  readonly block: number;
  /** K: numbers in a row. */
  readonly columns: number;
}

/** Code that stands for 0. */
export function zeroCode(bits: Bits): number {
  return 1 << (bits - 1);
}

export function blocksPerRow({ columns, block }: BlockShape): number {
  return Math.ceil(columns / block);
}

export function codeBytesPerRow(shape: BlockShape): number {
  return (blocksPerRow(shape) * shape.block * shape.bits) / 8;
}

/**
 * Quantises whole rows. `codes` and `scales` are filled completely; a block with a number that is not
 * finite gets such a scale.
 *
 * 8 bits: the largest magnitude of a block becomes ±127. 4 bits: see `fourBitScale`.
 */
export function quantiseRows(
  numbers: Float32Array,
  target: { readonly codes: Uint8Array; readonly scales: Float32Array },
  shape: BlockShape,
): void {
  const { bits, block, columns } = shape;
  const rows = numbers.length / columns;
  const perRow = blocksPerRow(shape);
  const codes = new Uint8Array(block);
  const bytes = (block * bits) / 8;
  for (let row = 0; row < rows; row++) {
    for (let index = 0; index < perRow; index++) {
      const from = row * columns + index * block;
      const values = numbers.subarray(from, Math.min(from + block, (row + 1) * columns));
      const scale = bits === 8 ? eightBitScale(values) : fourBitScale(values);
      const at = row * perRow + index;
      target.scales[at] = scale;
      encodeBlock(values, codes, { scale, bits });
      if (bits === 8) target.codes.set(codes, at * bytes);
      else packHalves(codes, target.codes.subarray(at * bytes, (at + 1) * bytes));
    }
  }
}

/** The numbers that codes and scales stand for, in fp32, row-major without the padding. */
export function dequantiseRows(
  numbers: Float32Array,
  source: { readonly codes: Uint8Array; readonly scales: Float32Array },
  shape: BlockShape,
): void {
  const { bits, block, columns } = shape;
  const zero = zeroCode(bits);
  const rowBytes = codeBytesPerRow(shape);
  const perRow = blocksPerRow(shape);
  const rows = numbers.length / columns;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const byte = source.codes[row * rowBytes + ((column * bits) >> 3)]!;
      const code = bits === 8 ? byte : column % 2 === 0 ? byte & 15 : byte >> 4;
      const scale = source.scales[row * perRow + Math.floor(column / block)]!;
      numbers[row * columns + column] = (code - zero) * scale;
    }
  }
}

function eightBitScale(values: Float32Array): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return Math.fround(largest / 127);
}

/** Scales tried around the one that maps the largest magnitude to the end of the codes. */
const candidateEnds = [-8, -7.5, -7, -8.5, -9];

/**
 * The largest magnitude, with its sign, is mapped to code 0 (−8), the only end with eight steps; so a
 * scale may be negative. Of a few such scales, each then fitted by least squares to the codes it
 * gives, the one with the least squared error is taken.
 */
function fourBitScale(values: Float32Array): number {
  let extreme = 0;
  for (const value of values) if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  if (extreme === 0 && values.every((value) => value === 0)) return 0;
  let best = 0;
  let bestGain = -1;
  for (const end of candidateEnds) {
    const inverse = end / extreme;
    let product = 0;
    let square = 0;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      const rounded = Math.round(value * inverse);
      const code = rounded < -8 ? -8 : rounded > 7 ? 7 : rounded;
      product += value * code;
      square += code * code;
    }
    // Least squares: s = Σ v·c / Σ c², which leaves Σ v² − (Σ v·c)² / Σ c².
    const gain = (product * product) / square;
    if (!(gain <= bestGain)) {
      bestGain = gain;
      best = product / square;
    }
  }
  return Math.fround(best);
}

/** Nearest codes; `codes` is filled up with the code of 0. */
function encodeBlock(
  values: Float32Array,
  codes: Uint8Array,
  { scale, bits }: { readonly scale: number; readonly bits: Bits },
): void {
  const zero = zeroCode(bits);
  const inverse = scale === 0 ? 0 : 1 / scale;
  const last = 2 * zero - 1;
  codes.fill(zero, values.length);
  for (let i = 0; i < values.length; i++) {
    const code = Math.round(values[i]! * inverse) + zero;
    codes[i] = code < 0 ? 0 : code > last ? last : code;
  }
}

function packHalves(codes: Uint8Array, bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = codes[2 * i]! | (codes[2 * i + 1]! << 4);
}
