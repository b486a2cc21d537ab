/**
 * The tensors of a file that torch.save wrote: where each lies, by what the ZIP and its pickle say.
 *
 * Promises that every tensor named is contiguous, lies inside its storage, and its storage inside the
 * file; a file that says otherwise is a `FormatRefusal`. No weight is read. Runs in a process of its
 * own (`pth-child.ts`), because nobody should have to trust this page.
 */
import { bytesPerElement, tensorsMax } from "../safetensors-header.ts";
import type { ByteSource } from "./byte-source.ts";
import { pickleBytesMax, readPickle } from "./pickle.ts";
import {
  type Dict,
  isKind,
  type PickleDtype,
  type PickledTensor,
  type Value,
} from "./pickle-values.ts";
import { FormatRefusal, shown } from "./refusal.ts";
import { readZip, type ZipMember } from "./zip.ts";

export interface PthTensor {
  readonly name: string;
  readonly dtype: PickleDtype;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface PthDirectory {
  readonly tensors: readonly PthTensor[];
  /** Keys that lie beside the tensors, such as `_strategy` in a file that the pip package converted. */
  readonly others: readonly string[];
}

const othersMax = 100;
const nameLengthMax = 256;

export function readPth(source: ByteSource): PthDirectory {
  const members = readZip(source);
  const { archive, pickle } = findPickle(members);
  if (pickle.bytes > pickleBytesMax) {
    throw new FormatRefusal("pickle-too-large", `${pickle.bytes} bytes, at most ${pickleBytesMax}`);
  }
  refuseBigEndian(source, members.get(`${archive}/byteorder`));
  const dict = stateDict(readPickle(source.read(pickle.offset, pickle.bytes)));
  const tensors: PthTensor[] = [];
  const others: string[] = [];
  for (const [key, value] of dict.entries) {
    const name = String(key);
    if (!isKind(value, "tensor")) {
      if (others.length < othersMax) others.push(name.slice(0, nameLengthMax));
      continue;
    }
    if (tensors.length === tensorsMax) {
      throw new FormatRefusal("too-many-tensors", `more than ${tensorsMax}`);
    }
    if (typeof key !== "string" || name.length > nameLengthMax) {
      throw new FormatRefusal("pickle-key", `${shown(name)} is no name of a tensor`);
    }
    const storage = members.get(`${archive}/data/${value.storage.key}`);
    tensors.push(locate(name, value, storage));
  }
  return { tensors, others };
}

function findPickle(members: ReadonlyMap<string, ZipMember>): {
  archive: string;
  pickle: ZipMember;
} {
  const found = [...members.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  const [pickle] = found;
  if (pickle === undefined || found.length > 1) {
    throw new FormatRefusal("pickle-missing", `${found.length} members called data.pkl`);
  }
  return { archive: pickle.name.slice(0, -"/data.pkl".length), pickle };
}

/** Files without this member are older than it, and little-endian. */
function refuseBigEndian(source: ByteSource, member: ZipMember | undefined): void {
  if (member === undefined) return;
  const order = source.read(member.offset, Math.min(member.bytes, 16)).toString("latin1");
  if (order !== "little") throw new FormatRefusal("byte-order", `${shown(order)}, must be little`);
}

/** Lightning checkpoints hold the weights one level down. */
function stateDict(value: Value): Dict {
  if (!isKind(value, "dict")) throw new FormatRefusal("not-a-state-dict", "not a dictionary");
  const nested = value.entries.get("state_dict");
  return isKind(nested, "dict") ? nested : value;
}

function locate(name: string, tensor: PickledTensor, member: ZipMember | undefined): PthTensor {
  const { storage, offset, shape, strides } = tensor;
  if (member === undefined) {
    throw new FormatRefusal("storage-missing", `${shown(name)} is in data/${shown(storage.key)}`);
  }
  const { dtype } = storage;
  const width = bytesPerElement(dtype);
  if (storage.elements * width !== member.bytes) {
    const found = `${shown(member.name)} has ${member.bytes} bytes`;
    throw new FormatRefusal(
      "storage-size",
      `${found}, ${storage.elements} × ${dtype} needs others`,
    );
  }
  let elements = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const extent = shape[axis]!;
    if (extent !== 1 && strides[axis] !== elements) {
      const found = `${shown(name)} has strides [${strides.join(", ")}]`;
      throw new FormatRefusal("tensor-strides", `${found}; save it again after .contiguous()`);
    }
    elements *= extent;
    if (!Number.isSafeInteger(elements)) {
      throw new FormatRefusal("tensor-shape", `${shown(name)} is larger than any file`);
    }
  }
  if (offset + elements > storage.elements) {
    const wanted = `${shown(name)} needs elements ${offset} to ${offset + elements}`;
    throw new FormatRefusal("tensor-past-end", `${wanted}, its storage has ${storage.elements}`);
  }
  return { name, dtype, shape, offset: member.offset + offset * width, bytes: elements * width };
}
