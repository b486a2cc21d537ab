/** The WKV recurrence of RWKV-v5.2 for one token, the plain twin. Formula and traffic: `math.md`. */

export interface Wkv5Input {
  /** `[H · N]` each */
  readonly receptance: Float32Array;
  readonly key: Float32Array;
  readonly value: Float32Array;
  /** w = exp(−exp(time_decay)), `[H · N]`, in (0, 1) */
  readonly decay: Float32Array;
  /** u = time_faaaa, `[H · N]`, used raw */
  readonly bonus: Float32Array;
  readonly headSize: number;
}

/**
 * Writes o `[H · N]` from the state *before* this token, then advances `state` `[H][N_k][N_v]`.
 * o is summed in fp64 over the key channels in order; the state is stored in fp32.
 */
export function wkv5(out: Float32Array, state: Float32Array, input: Wkv5Input): void {
  const { receptance, key, value, decay, bonus, headSize } = input;
  const sums = new Float64Array(headSize);
  for (let head = 0; head < out.length; head += headSize) {
    sums.fill(0);
    for (let j = 0; j < headSize; j++) {
      const r = receptance[head + j]!;
      const k = key[head + j]!;
      const w = decay[head + j]!;
      const u = bonus[head + j]!;
      const row = (head + j) * headSize;
      for (let c = 0; c < headSize; c++) {
        const kv = k * value[head + c]!;
        const old = state[row + c]!;
        sums[c]! += r * (u * kv + old);
        state[row + c] = kv + w * old;
      }
    }
    out.set(sums, head);
  }
}

/** w = exp(−exp(time_decay)), once at load; rounded to fp32 so that all backends share its bits. */
export function decayFactors(timeDecay: Float32Array): Float32Array {
  return timeDecay.map((decay) => Math.exp(-Math.exp(decay)));
}
