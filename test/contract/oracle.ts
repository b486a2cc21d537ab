/**
 * RWKV-v5.2 a second time, in fp64 and in another form, to compare backends with: whole sequences
 * layer by layer, and WKV as attention over the past instead of a recurrence
 *
 *     o_t = Σ_{s<t} (Σ_j r_tj · w_j^(t−1−s) · k_sj) · v_s
 *         + (Σ_j r_tj · u_j · k_tj) · v_t + Σ_j r_tj · w_j^t · S_j
 *
 * It shares the file reader with the product and nothing else. Cost grows with T²: for short rows.
 *
 * With `activationBlock` it is the naive run of quantised kernels instead: the inputs of every matrix
 * are rounded to int8, a scale for each block of so many, everything else is exact.
 */
import { openModel, type OpenModelOptions } from "#kernels/model/model.ts";
import type { ModelConfig } from "#kernels/model/config.ts";

type Row = Float64Array;

export interface OracleRun {
  /** One row of V per token. */
  readonly logits: readonly Row[];
  /** Canonical order, as in `kernels/state/format.md`. */
  readonly state: Float64Array;
}

export interface OracleOptions extends OpenModelOptions {
  readonly activationBlock?: number;
}

export class Oracle {
  readonly config: ModelConfig;
  readonly #activationBlock: number | null;
  readonly #tensors = new Map<string, Float64Array>();

  static async open(directory: string, options: OracleOptions = {}): Promise<Oracle> {
    const model = await openModel(directory, options);
    const oracle = new Oracle(model.config, options.activationBlock ?? null);
    const { layers } = model.config;
    const tensor = (name: string): void => {
      oracle.#tensors.set(name, Float64Array.from(model.tensor(name)));
    };
    for (const name of outerTensors) tensor(name);
    for (let layer = 0; layer < layers; layer++) {
      for (const name of layerTensors) tensor(`blocks.${layer}.${name}`);
    }
    model.close();
    return oracle;
  }

  private constructor(config: ModelConfig, activationBlock: number | null) {
    this.config = config;
    this.#activationBlock = activationBlock;
  }

  run(tokens: readonly number[], initial: ArrayLike<number>): OracleRun {
    const { width, headSize, layers, layerNormEps } = this.config;
    const state = Float64Array.from(initial);
    const embedding = this.#get("emb.weight");
    let x: Row[] = tokens.map((token) => embedding.slice(token * width, (token + 1) * width));
    x = x.map((row) => this.#norm(row, "blocks.0.ln0", { groups: 1, eps: layerNormEps }));
    for (let layer = 0; layer < layers; layer++) {
      const start = layer * width * (headSize + 2);
      const part = (from: number, to: number): Float64Array =>
        state.subarray(start + from * width, start + to * width);
      x = sum(x, this.#timeMix(layer, x, { shift: part(0, 1), wkv: part(1, headSize + 1) }));
      x = sum(x, this.#channelMix(layer, x, part(headSize + 1, headSize + 2)));
    }
    const out = x.map((row) => this.#norm(row, "ln_out", { groups: 1, eps: layerNormEps }));
    return { logits: this.#linear("head.weight", out), state };
  }

  #timeMix(layer: number, x: Row[], state: { shift: Row; wkv: Row }): Row[] {
    const prefix = `blocks.${layer}.att`;
    const { heads, layerNormEps, groupNormEps } = this.config;
    const a = x.map((row) =>
      this.#norm(row, `blocks.${layer}.ln1`, { groups: 1, eps: layerNormEps }),
    );
    const previous = [state.shift.slice(), ...a.slice(0, -1)];
    const project = (mix: string, matrix: string): Row[] => {
      const m = this.#get(`${prefix}.time_mix_${mix}`);
      const mixed = a.map((row, t) =>
        row.map((v, i) => v * m[i]! + previous[t]![i]! * (1 - m[i]!)),
      );
      return this.#linear(`${prefix}.${matrix}.weight`, mixed);
    };
    const r = project("r", "receptance");
    const k = project("k", "key");
    const v = project("v", "value");
    const g = project("g", "gate");
    const o = this.#attention(layer, { r, k, v }, state.wkv);
    const gated = o.map((row, t) =>
      this.#norm(row, `${prefix}.ln_x`, { groups: heads, eps: groupNormEps }).map(
        (value, i) => (value * g[t]![i]!) / (1 + Math.exp(-g[t]![i]!)),
      ),
    );
    state.shift.set(a.at(-1)!);
    return this.#linear(`${prefix}.output.weight`, gated);
  }

  /** Returns every o and leaves the last S in `wkv`. */
  #attention(layer: number, input: { r: Row[]; k: Row[]; v: Row[] }, wkv: Row): Row[] {
    const { r, k, v } = input;
    const { width, headSize } = this.config;
    const u = this.#get(`blocks.${layer}.att.time_faaaa`);
    const rate = this.#get(`blocks.${layer}.att.time_decay`).map((decay) => -Math.exp(decay));
    const power = (j: number, n: number): number => Math.exp(rate[j]! * n);
    const first = wkv.slice();
    const outputs = r.map((rt, t) => {
      const out = new Float64Array(width);
      for (let j = 0; j < width; j++) {
        const head = j - (j % headSize);
        for (let c = 0; c < headSize; c++) {
          let past = power(j, t) * first[j * headSize + c]! + u[j]! * k[t]![j]! * v[t]![head + c]!;
          for (let s = 0; s < t; s++) past += power(j, t - 1 - s) * k[s]![j]! * v[s]![head + c]!;
          out[head + c]! += rt[j]! * past;
        }
      }
      return out;
    });
    const length = r.length;
    for (let j = 0; j < width; j++) {
      const head = j - (j % headSize);
      for (let c = 0; c < headSize; c++) {
        let cell = power(j, length) * first[j * headSize + c]!;
        for (let s = 0; s < length; s++) {
          cell += power(j, length - 1 - s) * k[s]![j]! * v[s]![head + c]!;
        }
        wkv[j * headSize + c] = cell;
      }
    }
    return outputs;
  }

  #channelMix(layer: number, x: Row[], shift: Row): Row[] {
    const prefix = `blocks.${layer}.ffn`;
    const eps = this.config.layerNormEps;
    const b = x.map((row) => this.#norm(row, `blocks.${layer}.ln2`, { groups: 1, eps }));
    const previous = [shift.slice(), ...b.slice(0, -1)];
    const mixed = (mix: string): Row[] => {
      const m = this.#get(`${prefix}.time_mix_${mix}`);
      return b.map((row, t) => row.map((v, i) => v * m[i]! + previous[t]![i]! * (1 - m[i]!)));
    };
    const inner = this.#linear(`${prefix}.key.weight`, mixed("k")).map((row) =>
      row.map((v) => (v > 0 ? v * v : 0)),
    );
    const values = this.#linear(`${prefix}.value.weight`, inner);
    const gates = this.#linear(`${prefix}.receptance.weight`, mixed("r"));
    shift.set(b.at(-1)!);
    return values.map((row, t) => row.map((v, i) => v / (1 + Math.exp(-gates[t]![i]!))));
  }

  #linear(name: string, rows: readonly Row[]): Row[] {
    const matrix = this.#get(name);
    return rows.map((exact) => {
      const row = this.#activationBlock === null ? exact : rounded(exact, this.#activationBlock);
      const out = new Float64Array(matrix.length / row.length);
      for (let i = 0; i < out.length; i++) {
        for (let j = 0; j < row.length; j++) out[i]! += matrix[i * row.length + j]! * row[j]!;
      }
      return out;
    });
  }

  #norm(row: Row, name: string, { groups, eps }: { groups: number; eps: number }): Row {
    const weight = this.#get(`${name}.weight`);
    const bias = this.#get(`${name}.bias`);
    const size = row.length / groups;
    const out = new Float64Array(row.length);
    for (let group = 0; group < groups; group++) {
      const values = row.subarray(group * size, (group + 1) * size);
      const mean = values.reduce((total, v) => total + v, 0) / size;
      const variance = values.reduce((total, v) => total + (v - mean) ** 2, 0) / size;
      values.forEach((v, offset) => {
        const i = group * size + offset;
        out[i] = ((v - mean) / Math.sqrt(variance + eps)) * weight[i]! + bias[i]!;
      });
    }
    return out;
  }

  #get(name: string): Float64Array {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`the oracle has not read ${name}`);
    return tensor;
  }
}

/** Each block in steps of 1/127 of its largest magnitude. */
function rounded(row: Row, block: number): Row {
  const out = new Float64Array(row.length);
  for (let from = 0; from < row.length; from += block) {
    const values = row.subarray(from, from + block);
    const step = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
    if (step > 0) values.forEach((v, i) => (out[from + i] = Math.round(v / step) * step));
  }
  return out;
}

function sum(a: readonly Row[], b: readonly Row[]): Row[] {
  return a.map((row, t) => row.map((value, i) => value + b[t]![i]!));
}

const norm = (name: string): string[] => [`${name}.weight`, `${name}.bias`];
const outerTensors = ["emb.weight", "head.weight", ...norm("ln_out"), ...norm("blocks.0.ln0")];
const layerTensors = [
  ...["ln1", "ln2", "att.ln_x"].flatMap(norm),
  ...["k", "v", "r", "g"].map((mix) => `att.time_mix_${mix}`),
  ...["receptance", "key", "value", "gate", "output"].map((matrix) => `att.${matrix}.weight`),
  "att.time_decay",
  "att.time_faaaa",
  "ffn.time_mix_k",
  "ffn.time_mix_r",
  ...["key", "receptance", "value"].map((matrix) => `ffn.${matrix}.weight`),
];
