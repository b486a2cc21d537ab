/**
 * A canonical state in fewer bytes, and back. Byte tables: `format.md`.
 *
 * - `f32`: as it is, to the bit.
 * - `f16`: each number to the nearest half, those beyond ±65,504 to ±65,504.
 * - `int8`: rows of N = head size numbers (a row of a wkv matrix, or N neighbours of a shift) share a
 *   scale s; a number is q · s with -127 ≤ q ≤ 127. s is an upper half of a float32 without its sign
 *   (8 bits of exponent, 8 of mantissa), the least one with 127 · s ≥ the largest magnitude.
 *
 * Promises that a decoded state is encoded to itself: `decode(encode(decode(encode(x))))` is
 * `decode(encode(x))` to the bit. Of that hangs that a conversation says the same whether its state
 * stayed in a slot or went through a snapshot (`settleState`, apps/worker/README.md). For `int8` it
 * holds because s has 9 significant bits: 127 · s is exact in float32, and rounding s up by less than
 * 1/256 leaves the largest q at 127, so the row gives the same s again.
 *
 * A state with a NaN or an infinity has no encoding: `encodeState` answers null.
 */

export const stateCodecs = ["f32", "f16", "int8"] as const;
export type StateCodec = (typeof stateCodecs)[number];

/** Largest q of `int8`; -128 is left out, so that a state and its negative round alike. */
const int8Max = 127;
const halfMax = 65_504;
/** A row whose largest number is below 2^-120 becomes zeros: its scale has no exact product. */
const rowMagnitudeMin = 2 ** -120;
/** Added and taken away again it rounds a small double to an integer, halves to even. */
const roundingConstant = 1.5 * 2 ** 52;
/** Of a float32: all but its sign, and the least of those that are not finite. */
const magnitudeMask = 0x7fff_ffff;
const infinityBits = 0x7f80_0000;

export function encodedBytes(codec: StateCodec, elements: number, rowLength: number): number {
  switch (codec) {
    case "f32":
      return 4 * elements;
    case "f16":
      return 2 * elements;
    case "int8":
      return elements + 2 * rowsOf(elements, rowLength);
  }
}

/** Null when a number of the state is not finite. */
export function encodeState(
  codec: StateCodec,
  state: Float32Array,
  rowLength: number,
): Uint8Array<ArrayBuffer> | null {
  switch (codec) {
    case "f32":
      return isFiniteState(state) ? new Uint8Array(state.slice().buffer) : null;
    case "f16":
      return isFiniteState(state) ? encodeHalves(state) : null;
    case "int8":
      return encodeRows(state, rowLength);
  }
}

/** Fills `state` from the bytes that `encodeState` gave for as many numbers. */
export function decodeState(
  codec: StateCodec,
  bytes: Uint8Array,
  into: { readonly state: Float32Array; readonly rowLength: number },
): void {
  const { state, rowLength } = into;
  if (bytes.length !== encodedBytes(codec, state.length, rowLength)) {
    throw new RangeError(`${bytes.length} bytes of ${codec} for ${state.length} numbers`);
  }
  switch (codec) {
    case "f32":
      new Uint8Array(state.buffer, state.byteOffset, state.byteLength).set(bytes);
      return;
    case "f16":
      return decodeHalves(bytes, state);
    case "int8":
      return decodeRows(bytes, state, rowLength);
  }
}

/**
 * Makes a state, in place, what it will be after it went through a snapshot. False, and nothing is
 * changed, when it is not finite.
 */
export function settleState(codec: StateCodec, state: Float32Array, rowLength: number): boolean {
  if (codec === "f32") return isFiniteState(state);
  if (codec === "int8") return settleRows(state, rowLength);
  const bytes = encodeState(codec, state, rowLength);
  if (bytes === null) return false;
  decodeState(codec, bytes, { state, rowLength });
  return true;
}

function isFiniteState(state: Float32Array): boolean {
  // Zero for finite numbers; an infinity less itself is NaN, which no addition mends.
  let defect = 0;
  for (let index = 0; index < state.length; index++) defect += state[index]! - state[index]!;
  return defect === 0;
}

function encodeHalves(state: Float32Array): Uint8Array<ArrayBuffer> {
  const halves = new Float16Array(state.length);
  for (let index = 0; index < state.length; index++) {
    halves[index] = Math.max(-halfMax, Math.min(halfMax, state[index]!));
  }
  return new Uint8Array(halves.buffer);
}

function decodeHalves(bytes: Uint8Array, state: Float32Array): void {
  const halves = new Float16Array(state.length);
  new Uint8Array(halves.buffer).set(bytes);
  state.set(halves);
}

/** Scales of all rows, then their numbers. */
function encodeRows(state: Float32Array, rowLength: number): Uint8Array<ArrayBuffer> | null {
  const magnitudes = magnitudesOfRows(state, rowLength);
  if (magnitudes === null) return null;
  const rows = magnitudes.length;
  const bytes = new Uint8Array(2 * rows + state.length);
  const scales = new Uint16Array(bytes.buffer, 0, rows);
  const numbers = new Int8Array(bytes.buffer, 2 * rows);
  for (let row = 0, start = 0; row < rows; row++, start += rowLength) {
    const magnitude = magnitudes[row]!;
    if (magnitude < rowMagnitudeMin) continue;
    const bits = scaleBitsAbove(magnitude);
    scales[row] = bits;
    const perScale = 1 / scaleOf(bits);
    const end = start + rowLength;
    for (let index = start; index < end; index++) {
      numbers[index] = state[index]! * perScale + roundingConstant - roundingConstant;
    }
  }
  return bytes;
}

/** Each number to the one that `decodeRows` gives for what `encodeRows` made of it. */
function settleRows(state: Float32Array, rowLength: number): boolean {
  const magnitudes = magnitudesOfRows(state, rowLength);
  if (magnitudes === null) return false;
  for (let row = 0, start = 0; row < magnitudes.length; row++, start += rowLength) {
    const end = start + rowLength;
    const magnitude = magnitudes[row]!;
    if (magnitude < rowMagnitudeMin) {
      state.fill(0, start, end);
      continue;
    }
    const scale = scaleOf(scaleBitsAbove(magnitude));
    const perScale = 1 / scale;
    for (let index = start; index < end; index++) {
      const number = state[index]! * perScale + roundingConstant - roundingConstant;
      state[index] = number * scale;
    }
  }
  return true;
}

/**
 * The largest magnitude of each row; null when a number is not finite. Read as integers, floats
 * without their sign are in the same order, infinities and NaN above all others.
 */
function magnitudesOfRows(state: Float32Array, rowLength: number): Float32Array | null {
  const rows = rowsOf(state.length, rowLength);
  const bits = new Int32Array(state.buffer, state.byteOffset, state.length);
  const largest = new Int32Array(rows);
  for (let row = 0, index = 0; row < rows; row++) {
    let magnitude = 0;
    for (const end = index + rowLength; index < end; index++) {
      const size = bits[index]! & magnitudeMask;
      if (size > magnitude) magnitude = size;
    }
    if (magnitude >= infinityBits) return null;
    largest[row] = magnitude;
  }
  return new Float32Array(largest.buffer);
}

function decodeRows(bytes: Uint8Array, state: Float32Array, rowLength: number): void {
  const rows = rowsOf(state.length, rowLength);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const numbers = new Int8Array(bytes.buffer, bytes.byteOffset + 2 * rows, state.length);
  for (let row = 0; row < rows; row++) {
    const scale = scaleOf(view.getUint16(2 * row, true));
    const start = row * rowLength;
    const end = start + rowLength;
    for (let index = start; index < end; index++) state[index] = numbers[index]! * scale;
  }
}

/** One float32 seen as its bits; holds nothing between two calls. */
const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);
/** Of the largest scale whose 127-fold is a float32, 1.0078125 · 2^121. */
const scaleBitsMax = 0xf802;

/** Bits of the least scale whose 127-fold reaches `magnitude`. */
function scaleBitsAbove(magnitude: number): number {
  scratch[0] = magnitude / int8Max;
  const whole = scratchBits[0]!;
  return Math.min((whole >>> 15) + ((whole & 0x7fff) === 0 ? 0 : 1), scaleBitsMax);
}

function scaleOf(bits: number): number {
  scratchBits[0] = bits << 15;
  return scratch[0]!;
}

function rowsOf(elements: number, rowLength: number): number {
  if (rowLength < 1 || elements % rowLength !== 0) {
    throw new RangeError(`${elements} numbers are no rows of ${rowLength}`);
  }
  return elements / rowLength;
}
