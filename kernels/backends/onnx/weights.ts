/**
 * A model's weights as values of a graph.
 *
 * Matrices stay in the weights file: the graph names their bytes, onnxruntime maps the file and packs
 * its own fp32 copy of each when the session opens. Vectors are small and travel inside the graph.
 */
import { basename } from "node:path";
import type { GraphBuilder, Value } from "#kernels/backends/onnx/builder.ts";
import { dataType, type DataType } from "#kernels/backends/onnx/proto.ts";
import { ModelError } from "#kernels/errors.ts";
import { canonicalTensors } from "#kernels/model/config.ts";
import type { Model, QuantisedMatrix } from "#kernels/model/model.ts";
import type { TensorLocation } from "#kernels/model/safetensors.ts";

const typesInFile = new Map<string, DataType>([
  ["F32", "float32"],
  ["F16", "float16"],
  ["BF16", "bfloat16"],
]);

/** MatMulNBits, `accuracy_level`. */
const int8Activations = 4;

/** exp of it is 0 in fp32, and unlike −∞ it stays harmless when multiplied by 0. */
const logDecayMin = -1e30;

export class GraphWeights {
  readonly #graph: GraphBuilder;
  readonly #model: Model;
  readonly #shapes: ReadonlyMap<string, readonly number[]>;

  constructor(graph: GraphBuilder, model: Model) {
    this.#graph = graph;
    this.#model = model;
    this.#shapes = canonicalTensors(model.config);
  }

  /**
   * input · Wᵀ with W `[out, in]` as stored; one place for all matrix products. With `transB` the
   * stored order is packed directly: as fast as a transposed copy and bit-equal to it (measured).
   * Quantised matrices go with int8 activations, one scale a block of them (accuracy level 4).
   */
  linear(input: Value, name: string): Value {
    const quantised = this.#model.quantised(name);
    if (quantised !== null) return this.#linearQuantised(input, name, quantised);
    const matrix = this.#widened(this.#inFile(name), name);
    const attributes = { transB: { int: 1 } };
    return this.#graph.contrib("FusedMatMul", [input, matrix], { attributes })[0]!;
  }

  /** The rows of a matrix that `indices` name, widened after the look-up. */
  lookUp(name: string, indices: Value): Value {
    return this.#widened(this.#graph.op("Gather", [this.#inFile(name), indices]), name);
  }

  /** A tensor as a vector of all its numbers, or in the shape given. */
  vector(name: string, shape?: readonly number[]): Value {
    const numbers = this.#model.tensor(name);
    return this.#graph.constant(name, numbers, shape ?? [numbers.length]);
  }

  /** n vectors of length D as `[n, 1, D]`. */
  stack(names: readonly string[]): Value {
    const vectors = names.map((name) => this.#model.tensor(name));
    const width = vectors[0]!.length;
    const stacked = new Float32Array(names.length * width);
    vectors.forEach((vector, index) => stacked.set(vector, index * width));
    return this.#graph.constant(names.join("+"), stacked, [names.length, 1, width]);
  }

  /** `[D, H]` from `[H, N]`: column h holds head h's numbers in its rows, and 0 elsewhere. */
  headBlocks(name: string): Value {
    const { heads, headSize, width } = this.#model.config;
    const blocks = new Float32Array(width * heads);
    this.#model.tensor(name).forEach((number, row) => {
      blocks[row * heads + Math.floor(row / headSize)] = number;
    });
    return this.#graph.constant(name, blocks, [width, heads]);
  }

  /** log w = −exp(decay) for each channel, `[D]`. */
  logDecay(name: string): Value {
    const logs = this.#model.tensor(name).map((decay) => Math.max(-Math.exp(decay), logDecayMin));
    return this.#graph.constant(name, logs, [logs.length]);
  }

  #linearQuantised(input: Value, name: string, matrix: QuantisedMatrix): Value {
    const { rows, columns, bits, block, codes, scales } = matrix;
    const inputs = [
      input,
      this.#mapped(codes, { type: "uint8", shape: codes.shape }),
      this.#mapped(scales, { type: "float32", shape: scales.shape }),
    ];
    const attributes = {
      K: { int: columns },
      N: { int: rows },
      bits: { int: bits },
      block_size: { int: block },
      accuracy_level: { int: int8Activations },
    };
    return this.#graph.contrib("MatMulNBits", inputs, { attributes })[0]!;
  }

  #inFile(name: string): Value {
    // Not the file's own shape, which may have extra dimensions of 1.
    const shape = this.#shapes.get(name)!;
    return this.#mapped(this.#model.location(name), { type: this.#typeInFile(name), shape });
  }

  #mapped(
    { name, offset, bytes }: TensorLocation,
    as: { readonly type: DataType; readonly shape: readonly number[] },
  ): Value {
    const file = basename(this.#model.weightsPath);
    const data = { file, byteOffset: offset, byteLength: bytes };
    return this.#graph.initializer({ name, ...as, data });
  }

  /** Of a matrix, the cast happens once, when onnxruntime folds constants. */
  #widened(value: Value, name: string): Value {
    if (this.#typeInFile(name) === "float32") return value;
    return this.#graph.op("Cast", [value], { to: { int: dataType.float32 } });
  }

  #typeInFile(name: string): DataType {
    const { dtype } = this.#model.location(name);
    const type = typesInFile.get(dtype);
    if (type !== undefined) return type;
    const reason = `dtype-not-read: ${name} is ${dtype}`;
    throw new ModelError("MODEL_BROKEN", { path: this.#model.weightsPath, reason });
  }
}
