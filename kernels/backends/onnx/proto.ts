/**
 * Writes ONNX models: the handful of messages of `onnx.proto3` that our graph needs, encoded with
 * the wire writer of @bufbuild/protobuf.
 *
 * It owns the field numbers and nothing else; a graph that makes no sense is refused by
 * onnxruntime, not here. Field numbers: github.com/onnx/onnx, onnx/onnx.proto3.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** `TensorProto.DataType`, the members we use. */
export const dataType = { float32: 1, uint8: 2, int64: 7, float16: 10, bfloat16: 16 } as const;
export type DataType = keyof typeof dataType;

export type Attribute = { readonly float: number } | { readonly int: number } | string;

export interface OnnxNode {
  readonly operator: string;
  /** Empty for ONNX's own operators. */
  readonly domain: string;
  /** An empty name leaves an optional input or output out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** A constant: its bytes inside the model, or a byte range of a file beside it. */
export interface OnnxInitializer {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
  readonly data:
    | Uint8Array
    | { readonly file: string; readonly byteOffset: number; readonly byteLength: number };
}

/**
 * A graph input or output; a dimension given by name may differ from run to run. What is left out, as
 * with outputs, onnxruntime infers.
 */
export interface OnnxValue {
  readonly name: string;
  readonly type?: DataType;
  readonly shape?: readonly (number | string)[];
}

export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxInitializer[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

/** IR 10 with opset 21 is understood by every onnxruntime since 1.18. */
const irVersion = 10;
const opsets = { "": 21, "com.microsoft": 1 };

/** Values of `AttributeProto.AttributeType` and `TensorProto.DataLocation`. */
const attributeType = { float: 1, int: 2, string: 3 };
const locationExternal = 1;

/** The bytes of a `ModelProto`. */
export function encodeModel(graph: OnnxGraph): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).int64(irVersion);
  message(writer, 7, () => writeGraph(writer, graph));
  for (const [domain, version] of Object.entries(opsets)) {
    message(writer, 8, () => {
      text(writer, 1, domain);
      writer.tag(2, WireType.Varint).int64(version);
    });
  }
  return writer.finish();
}

function writeGraph(writer: BinaryWriter, graph: OnnxGraph): void {
  for (const node of graph.nodes) message(writer, 1, () => writeNode(writer, node));
  text(writer, 2, graph.name);
  for (const tensor of graph.initializers) message(writer, 5, () => writeTensor(writer, tensor));
  for (const value of graph.inputs) message(writer, 11, () => writeValue(writer, value));
  for (const value of graph.outputs) message(writer, 12, () => writeValue(writer, value));
}

function writeNode(writer: BinaryWriter, node: OnnxNode): void {
  for (const input of node.inputs) text(writer, 1, input);
  for (const output of node.outputs) text(writer, 2, output);
  text(writer, 4, node.operator);
  for (const [name, value] of Object.entries(node.attributes)) {
    message(writer, 5, () => writeAttribute(writer, name, value));
  }
  text(writer, 7, node.domain);
}

function writeAttribute(writer: BinaryWriter, name: string, value: Attribute): void {
  text(writer, 1, name);
  let type: number;
  if (typeof value === "string") {
    text(writer, 4, value);
    type = attributeType.string;
  } else if ("float" in value) {
    writer.tag(2, WireType.Bit32).float(value.float);
    type = attributeType.float;
  } else {
    writer.tag(3, WireType.Varint).int64(value.int);
    type = attributeType.int;
  }
  writer.tag(20, WireType.Varint).int32(type);
}

function writeTensor(writer: BinaryWriter, tensor: OnnxInitializer): void {
  for (const dimension of tensor.shape) writer.tag(1, WireType.Varint).int64(dimension);
  writer.tag(2, WireType.Varint).int32(dataType[tensor.type]);
  text(writer, 8, tensor.name);
  if (tensor.data instanceof Uint8Array) {
    writer.tag(9, WireType.LengthDelimited).bytes(tensor.data);
    return;
  }
  const { file, byteOffset, byteLength } = tensor.data;
  const entries = { location: file, offset: `${byteOffset}`, length: `${byteLength}` };
  for (const [key, value] of Object.entries(entries)) {
    message(writer, 13, () => {
      text(writer, 1, key);
      text(writer, 2, value);
    });
  }
  writer.tag(14, WireType.Varint).int32(locationExternal);
}

function writeValue(writer: BinaryWriter, value: OnnxValue): void {
  text(writer, 1, value.name);
  const { type } = value;
  if (type === undefined) return;
  // ValueInfoProto.type → TypeProto.tensor_type → shape → dim
  message(writer, 2, () =>
    message(writer, 1, () => {
      writer.tag(1, WireType.Varint).int32(dataType[type]);
      const { shape } = value;
      if (shape !== undefined) message(writer, 2, () => writeShape(writer, shape));
    }),
  );
}

function writeShape(writer: BinaryWriter, shape: readonly (number | string)[]): void {
  for (const dimension of shape) {
    message(writer, 1, () => {
      if (typeof dimension === "string") text(writer, 2, dimension);
      else writer.tag(1, WireType.Varint).int64(dimension);
    });
  }
}

function message(writer: BinaryWriter, field: number, write: () => void): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  write();
  writer.join();
}

function text(writer: BinaryWriter, field: number, value: string): void {
  writer.tag(field, WireType.LengthDelimited).string(value);
}
