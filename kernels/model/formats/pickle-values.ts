/**
 * What a pickle of weights may be made of, and the only callables that may make it.
 *
 * A global is a name here, never code: `allowedGlobals` says which names may occur, `call` what the
 * four callables among them give. Everything else in Python's reach is a `pickle-global`.
 */
import { rankMax } from "../safetensors-header.ts";
import { FormatRefusal, shown } from "./refusal.ts";

export type PickleDtype = "F16" | "BF16" | "F32";

export interface Tuple {
  readonly kind: "tuple";
  readonly items: readonly Value[];
}
export interface List {
  readonly kind: "list";
  readonly items: Value[];
}
export interface Dict {
  readonly kind: "dict";
  readonly entries: Map<string | number | boolean, Value>;
}
export interface Global {
  readonly kind: "global";
  readonly name: GlobalName;
}
export interface Storage {
  readonly kind: "storage";
  readonly dtype: PickleDtype;
  /** Its member is `<archive>/data/<key>`. */
  readonly key: string;
  readonly elements: number;
}
/** A view of a storage; whether it fits is for the reader who knows the storages. */
export interface PickledTensor {
  readonly kind: "tensor";
  readonly storage: Storage;
  /** In elements. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}
export type Value =
  | null
  | boolean
  | number
  | string
  | Tuple
  | List
  | Dict
  | Global
  | Storage
  | PickledTensor;

const storageDtypes = {
  "torch.HalfStorage": "F16",
  "torch.BFloat16Storage": "BF16",
  "torch.FloatStorage": "F32",
} as const;

const allowedGlobals = [
  "collections.OrderedDict",
  "torch._utils._rebuild_tensor_v2",
  "torch._utils._rebuild_parameter",
  "torch._tensor._rebuild_from_type_v2",
  // Inert: the type argument of `_rebuild_from_type_v2`.
  "torch.Tensor",
  "torch.nn.parameter.Parameter",
  ...(Object.keys(storageDtypes) as (keyof typeof storageDtypes)[]),
] as const;
export type GlobalName = (typeof allowedGlobals)[number];

export function global(module: string, name: string): Global {
  const full = `${module}.${name}`;
  const allowed = allowedGlobals.find((one) => one === full);
  // "a.b" + "c" and "a" + "b.c" are the same text: a dot in the name is Python's way to attributes.
  if (allowed !== undefined && !name.includes(".")) return { kind: "global", name: allowed };
  if (module === "torch" && /^[A-Z]\w*Storage$/.test(name)) {
    throw new FormatRefusal("storage-type", `${name}; F16, BF16 and F32 weights are read`);
  }
  throw new FormatRefusal("pickle-global", `${shown(full)} is not part of weights`);
}

export function newDict(): Dict {
  return { kind: "dict", entries: new Map() };
}

/** The REDUCE opcode. */
export function call(callable: Value, args: Value): Value {
  if (!isKind(callable, "global") || !isKind(args, "tuple")) throw badCall("not a known callable");
  const { items } = args;
  switch (callable.name) {
    case "collections.OrderedDict":
      if (items.length > 0) throw badCall("OrderedDict with arguments");
      return newDict();
    case "torch._utils._rebuild_tensor_v2":
      return rebuildTensor(items);
    case "torch._utils._rebuild_parameter":
      return rebuildParameter(items);
    case "torch._tensor._rebuild_from_type_v2":
      return rebuildFromType(items);
    default:
      throw badCall(`${callable.name} called`);
  }
}

/** The BINPERSID opcode: ("storage", type, key, device, number of elements). */
export function persistent(id: Value): Storage {
  const items = isKind(id, "tuple") ? id.items : [];
  const [word, type, key, device, elements] = items;
  const dtype = isKind(type, "global") ? dtypeOf(type.name) : undefined;
  const sound = items.length === 5 && word === "storage" && typeof device === "string";
  if (!sound || dtype === undefined || typeof key !== "string" || !isCount(elements)) {
    throw badCall("persistent id is not that of a storage");
  }
  return { kind: "storage", dtype, key, elements };
}

/** (storage, offset, shape, strides, requires gradient, hooks) */
function rebuildTensor(items: readonly Value[]): PickledTensor {
  const [storage, offset, shape, strides, gradient, hooks] = items;
  if (items.length !== 6 || !isKind(storage, "storage") || !isCount(offset)) {
    throw badCall("_rebuild_tensor_v2 with other arguments");
  }
  if (typeof gradient !== "boolean" || !isKind(hooks, "dict") || hooks.entries.size > 0) {
    throw badCall("_rebuild_tensor_v2 with hooks");
  }
  const extents = counts(shape);
  const steps = counts(strides);
  if (extents.length !== steps.length || extents.length > rankMax) {
    throw new FormatRefusal("tensor-shape", `rank ${extents.length}, ${steps.length} strides`);
  }
  return { kind: "tensor", storage, offset, shape: extents, strides: steps };
}

/** (tensor, requires gradient, hooks) */
function rebuildParameter(items: readonly Value[]): PickledTensor {
  const [tensor] = items;
  if (items.length !== 3 || !isKind(tensor, "tensor")) {
    throw badCall("_rebuild_parameter with other arguments");
  }
  return tensor;
}

/** (callable, type, its arguments, attributes): the attributes carry no weights and are dropped. */
function rebuildFromType(items: readonly Value[]): Value {
  const [callable, type, args] = items;
  const typed =
    isKind(type, "global") &&
    (type.name === "torch.Tensor" || type.name === "torch.nn.parameter.Parameter");
  const known =
    isKind(callable, "global") &&
    (callable.name === "torch._utils._rebuild_tensor_v2" ||
      callable.name === "torch._utils._rebuild_parameter");
  if (items.length !== 4 || !typed || !known || args === undefined) {
    throw badCall("_rebuild_from_type_v2 with other arguments");
  }
  return call(callable, args);
}

function dtypeOf(name: string): PickleDtype | undefined {
  return Object.hasOwn(storageDtypes, name)
    ? storageDtypes[name as keyof typeof storageDtypes]
    : undefined;
}

function counts(value: Value | undefined): readonly number[] {
  const items = isKind(value, "tuple") ? value.items : [null];
  if (!items.every(isCount)) {
    throw new FormatRefusal("tensor-shape", "extents and strides are whole numbers from 0");
  }
  return items;
}

function isCount(value: Value | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

type Kinds = Exclude<Value, null | boolean | number | string>;

export function isKind<K extends Kinds["kind"]>(
  value: Value | undefined,
  kind: K,
): value is Extract<Kinds, { kind: K }> {
  return typeof value === "object" && value !== null && value.kind === kind;
}

function badCall(what: string): FormatRefusal {
  return new FormatRefusal("pickle-call", what);
}
