/**
 * Collects the nodes and constants of one ONNX graph, so that model code reads like formulas.
 *
 * Values are named here and nowhere else. Shapes are not checked: onnxruntime does that when the
 * session opens.
 */
import type {
  Attribute,
  DataType,
  OnnxGraph,
  OnnxInitializer,
  OnnxNode,
  OnnxValue,
} from "#kernels/backends/onnx/proto.ts";

/** The name of a value in the graph. */
export type Value = string;

export class GraphBuilder {
  readonly #nodes: OnnxNode[] = [];
  readonly #initializers: OnnxInitializer[] = [];
  readonly #inputs: OnnxValue[] = [];
  readonly #outputs: OnnxValue[] = [];
  readonly #integerLists = new Map<string, Value>();

  input(name: string, type: DataType, shape: readonly (number | string)[]): Value {
    this.#inputs.push({ name, type, shape });
    return name;
  }

  /** Makes `value` an output called `name`. onnxruntime renames instead of copying. */
  output(value: Value, name: string): void {
    const parts = { inputs: [value], outputs: [name], attributes: {} };
    this.#nodes.push({ operator: "Identity", domain: "", ...parts });
    this.#outputs.push({ name });
  }

  /** A constant whose numbers travel inside the model. */
  constant(name: string, numbers: Float32Array, shape: readonly number[]): Value {
    const data = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    return this.initializer({ name, type: "float32", shape, data });
  }

  initializer(initializer: OnnxInitializer): Value {
    this.#initializers.push(initializer);
    return initializer.name;
  }

  /** An operator of ONNX itself with one output. */
  op(operator: string, inputs: readonly Value[], attributes: Attributes = {}): Value {
    return this.#add(operator, "", { inputs, attributes, outputs: 1 })[0]!;
  }

  /** The same for onnxruntime's own operators (`com.microsoft`), with any number of outputs. */
  contrib(
    operator: string,
    inputs: readonly Value[],
    options: { readonly attributes?: Attributes; readonly outputs?: number } = {},
  ): Value[] {
    const { attributes = {}, outputs = 1 } = options;
    return this.#add(operator, "com.microsoft", { inputs, attributes, outputs });
  }

  /** Equal parts along `axis`. */
  split(value: Value, parts: number, axis: number): Value[] {
    const attributes = { axis: { int: axis }, num_outputs: { int: parts } };
    return this.#add("Split", "", { inputs: [value], attributes, outputs: parts });
  }

  reshape(value: Value, shape: readonly number[]): Value {
    return this.op("Reshape", [value, this.#integers(shape)]);
  }

  /** Sum over some axes, which stay with length 1. */
  sum(value: Value, axes: readonly number[]): Value {
    return this.op("ReduceSum", [value, this.#integers(axes)]);
  }

  build(name: string): OnnxGraph {
    return {
      name,
      nodes: this.#nodes,
      initializers: this.#initializers,
      inputs: this.#inputs,
      outputs: this.#outputs,
    };
  }

  #integers(values: readonly number[]): Value {
    const key = values.join(",");
    const known = this.#integerLists.get(key);
    if (known !== undefined) return known;
    const numbers = BigInt64Array.from(values, BigInt);
    const name = this.initializer({
      name: `integers[${key}]`,
      type: "int64",
      shape: [values.length],
      data: new Uint8Array(numbers.buffer),
    });
    this.#integerLists.set(key, name);
    return name;
  }

  #add(operator: string, domain: string, parts: NodeParts): Value[] {
    const id = this.#nodes.length;
    const outputs = Array.from(
      { length: parts.outputs },
      (_, index) => `${operator}${id}.${index}`,
    );
    const { inputs, attributes } = parts;
    this.#nodes.push({ operator, domain, inputs, outputs, attributes });
    return outputs;
  }
}

type Attributes = Readonly<Record<string, Attribute>>;

interface NodeParts {
  readonly inputs: readonly Value[];
  readonly attributes: Attributes;
  readonly outputs: number;
}
