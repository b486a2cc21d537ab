/** State codecs: what comes back, how near it is, and that going through twice changes nothing. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeState,
  encodedBytes,
  encodeState,
  settleState,
  stateCodecs,
} from "#kernels/state/codec.ts";

const rowLength = 8;
const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
/** Rows of all magnitudes, the ends of float32 included. */
const states = fc
  .array(fc.array(finite, { minLength: rowLength, maxLength: rowLength }), { maxLength: 6 })
  .map((rows) => Float32Array.from(rows.flat()));

function bits(state: Float32Array): number[] {
  return [...new Uint32Array(state.buffer, state.byteOffset, state.length)];
}

describe.each(stateCodecs)("%s", (codec) => {
  test("has the bytes it says, and decodes into any place", () => {
    const state = Float32Array.from({ length: 24 }, (_, i) => i - 12);
    const bytes = encodeState(codec, state, rowLength)!;
    expect(bytes).toHaveLength(encodedBytes(codec, 24, rowLength));
    // As a reader has it: a window of a buffer, at an odd address.
    const odd = Buffer.concat([Buffer.alloc(3), bytes]).subarray(3);
    const within = new Float32Array(30);
    decodeState(codec, odd, { state: within.subarray(4, 28), rowLength });
    expect(settleState(codec, state, rowLength)).toBe(true);
    expect(within).toEqual(Float32Array.from([0, 0, 0, 0, ...state, 0, 0]));
  });

  test("a state that went through goes through again unchanged, to the bit", () => {
    fc.assert(
      fc.property(states, (state) => {
        const through = new Float32Array(state.length);
        decodeState(codec, encodeState(codec, state, rowLength)!, { state: through, rowLength });
        expect(settleState(codec, state, rowLength)).toBe(true);
        expect(bits(state)).toEqual(bits(through));
        const once = bits(state);
        expect(settleState(codec, state, rowLength)).toBe(true);
        expect(bits(state)).toEqual(once);
        expect(state.every(Number.isFinite)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([Number.NaN, Infinity, -Infinity])("%d has no encoding, wherever it lies", (poison) => {
    for (const place of [0, 7, 8, 23]) {
      const state = new Float32Array(24).fill(1);
      state[place] = poison;
      const before = bits(state);
      expect(encodeState(codec, state, rowLength)).toBe(null);
      expect(settleState(codec, state, rowLength)).toBe(false);
      expect(bits(state)).toEqual(before);
    }
  });

  test("refuses bytes of another length", () => {
    const into = { state: new Float32Array(8), rowLength };
    const bytes = new Uint8Array(encodedBytes(codec, 16, rowLength));
    expect(() => decodeState(codec, bytes, into)).toThrow(RangeError);
  });
});

test("f32 keeps every bit", () => {
  fc.assert(
    fc.property(states, (state) => {
      const before = bits(state);
      settleState("f32", state, rowLength);
      expect(bits(state)).toEqual(before);
    }),
  );
});

test("f16 is the nearest half, and the largest half beyond", () => {
  const state = Float32Array.from([1 + 2 ** -11, 1 + 3 * 2 ** -11, 65_504, 65_520, -1e9, 2 ** -24]);
  settleState("f16", state, 1);
  expect([...state]).toEqual([1, 1 + 2 ** -9, 65_504, 65_504, -65_504, 2 ** -24]);
});

test("int8 is off by at most half a step of its row, whatever its neighbours are", () => {
  fc.assert(
    fc.property(states, (state) => {
      const settled = state.slice();
      settleState("int8", settled, rowLength);
      for (let row = 0; row < state.length; row += rowLength) {
        const largest = Math.max(...state.subarray(row, row + rowLength).map(Math.abs));
        // A step is up to 1/256 wider than it need be; float32 rounds the last bit.
        const halfStep = Math.max((largest / 127 / 2) * (1 + 1 / 256 + 1e-6), 2 ** -120);
        for (let at = row; at < row + rowLength; at++) {
          expect(Math.abs(settled[at]! - state[at]!)).toBeLessThanOrEqual(halfStep);
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("int8 wants whole rows", () => {
  expect(() => encodeState("int8", new Float32Array(12), rowLength)).toThrow(RangeError);
});
