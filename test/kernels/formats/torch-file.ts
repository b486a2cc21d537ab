/**
 * Writes what torch.save writes: pickles of protocol 2, and a ZIP of stored members with descriptors,
 * padded data and ZIP64 end records. Every part can be told to lie.
 */

export type Dtype = "F16" | "BF16" | "F32";

export interface Tensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Buffer;
  /** Default: contiguous. */
  readonly strides?: readonly number[];
  /** In elements; default 0. */
  readonly offset?: number;
  /** Of the storage; default: all of `data`. */
  readonly elements?: number;
  /** Default: a storage of its own. */
  readonly key?: string;
}

const storageOf = { F16: "HalfStorage", BF16: "BFloat16Storage", F32: "FloatStorage" };
export const widthOf = { F16: 2, BF16: 2, F32: 4 };

/** Opcodes one after the other. */
export class Pickle {
  readonly #parts: Buffer[] = [];
  #memo = 0;

  raw(...bytes: number[]): this {
    this.#parts.push(Buffer.from(bytes));
    return this;
  }
  text(text: string): this {
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    this.#parts.push(Buffer.from("X"), length, bytes);
    return this.put();
  }
  int(value: number): this {
    if (value >= 0 && value < 256) return this.raw(0x4b, value);
    const bytes = Buffer.alloc(5, 0x4a);
    bytes.writeInt32LE(value, 1);
    this.#parts.push(bytes);
    return this;
  }
  long(value: bigint, length: number): this {
    const bytes = Buffer.alloc(2 + length);
    bytes.set([0x8a, length]);
    const bits = BigInt.asUintN(8 * length, value);
    for (let i = 0; i < length; i++) bytes[2 + i] = Number((bits >> BigInt(8 * i)) & 255n);
    this.#parts.push(bytes);
    return this;
  }
  global(module: string, name: string): this {
    this.#parts.push(Buffer.from(`c${module}\n${name}\n`));
    return this.put();
  }
  /** BINPUT or LONG_BINPUT of the next number. */
  put(): this {
    const index = this.#memo++;
    if (index < 256) return this.raw(0x71, index);
    const bytes = Buffer.alloc(5, 0x72);
    bytes.writeUInt32LE(index, 1);
    this.#parts.push(bytes);
    return this;
  }
  ints(values: readonly number[]): this {
    this.raw(0x28);
    for (const value of values) this.int(value);
    return this.raw(0x74).put();
  }
  orderedDict(): this {
    return this.global("collections", "OrderedDict").raw(0x29, 0x52).put();
  }
  tensor(tensor: Tensor, key: string): this {
    const { dtype, shape, data, offset = 0 } = tensor;
    this.global("torch._utils", "_rebuild_tensor_v2").raw(0x28, 0x28);
    this.text("storage")
      .global("torch", storageOf[dtype])
      .text(tensor.key ?? key)
      .text("cpu");
    this.int(tensor.elements ?? data.length / widthOf[dtype]).raw(0x74, 0x51);
    this.int(offset)
      .ints(shape)
      .ints(tensor.strides ?? stridesOf(shape))
      .raw(0x89);
    return this.orderedDict().raw(0x74, 0x52).put();
  }
  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

export function begin(): Pickle {
  return new Pickle().raw(0x80, 2);
}

function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = strides[axis + 1]! * shape[axis + 1]!;
  }
  return strides;
}

/** The tensors as entries of the dictionary on top of the stack. */
export function addTensors(pickle: Pickle, tensors: readonly Tensor[]): Pickle {
  pickle.raw(0x28);
  tensors.forEach((tensor, index) => pickle.text(tensor.name).tensor(tensor, String(index)));
  return pickle.raw(0x75);
}

export function stateDict(tensors: readonly Tensor[]): Buffer {
  return addTensors(begin().orderedDict(), tensors).raw(0x2e).bytes();
}

export interface Member {
  readonly name: string;
  readonly data: Buffer;
  /** What the headers say, where it differs from the truth. */
  readonly localName?: string;
  readonly method?: number;
  readonly flags?: number;
  readonly bytes?: number;
  readonly storedBytes?: number;
  readonly headerOffset?: number;
  readonly extra?: Buffer;
}

export function membersOf(pickle: Buffer, tensors: readonly Tensor[]): Member[] {
  const storages = tensors.map(({ data }, index) => ({ name: `archive/data/${index}`, data }));
  const version = { name: "archive/version", data: Buffer.from("3\n") };
  return [{ name: "archive/data.pkl", data: pickle }, ...storages, version];
}

export function torchFile(tensors: readonly Tensor[], pickle = stateDict(tensors)): Buffer {
  return zip(membersOf(pickle, tensors));
}

export interface ZipLies {
  /** Fields of the ZIP64 end record. */
  readonly entries64?: bigint;
  readonly bytes64?: bigint;
  readonly offset64?: bigint;
}

export function zip(members: readonly Member[], lies: ZipLies = {}): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  const push = (part: Buffer): void => {
    parts.push(part);
    at += part.length;
  };
  const entries = members.map((member) => {
    const offset = at;
    push(localHeader(member, at));
    push(member.data);
    const descriptor = Buffer.alloc(16);
    descriptor.write("PK\x07\x08", "latin1");
    descriptor.writeUInt32LE(member.data.length, 8);
    descriptor.writeUInt32LE(member.data.length, 12);
    push(descriptor);
    return centralHeader(member, offset);
  });
  const directoryOffset = at;
  for (const entry of entries) push(entry);
  const bytes = at - directoryOffset;
  push(endRecords({ entries: members.length, bytes, offset: directoryOffset }, lies));
  return Buffer.concat(parts);
}

/** The extra field pads the data to a multiple of 64, as torch does it. */
function localHeader({ name, localName = name, method = 0, flags = 0x0808 }: Member, at: number) {
  const fixed = 30 + localName.length + 4;
  const padding = (64 - ((at + fixed) % 64)) % 64;
  const header = Buffer.alloc(fixed + padding, "Z");
  header.fill(0, 0, 30);
  header.write("PK\x03\x04", "latin1");
  header.writeUInt16LE(flags, 6);
  header.writeUInt16LE(method, 8);
  header.writeUInt16LE(localName.length, 26);
  header.writeUInt16LE(4 + padding, 28);
  header.write(`${localName}FB`, 30, "latin1");
  header.writeUInt16LE(padding, 32 + localName.length);
  return header;
}

function centralHeader(member: Member, offset: number): Buffer {
  const { name, data, method = 0, flags = 0x0808, extra = Buffer.alloc(0) } = member;
  const header = Buffer.alloc(46);
  header.write("PK\x01\x02", "latin1");
  header.writeUInt16LE(flags, 8);
  header.writeUInt16LE(method, 10);
  header.writeUInt32LE(member.storedBytes ?? member.bytes ?? data.length, 20);
  header.writeUInt32LE(member.bytes ?? data.length, 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(extra.length, 30);
  header.writeUInt32LE(member.headerOffset ?? offset, 42);
  return Buffer.concat([header, Buffer.from(name, "latin1"), extra]);
}

interface Directory {
  readonly entries: number;
  readonly bytes: number;
  readonly offset: number;
}

function endRecords({ entries, bytes, offset }: Directory, lies: ZipLies): Buffer {
  const { entries64 = BigInt(entries), bytes64 = BigInt(bytes), offset64 = BigInt(offset) } = lies;
  const end = Buffer.alloc(56 + 20 + 22);
  end.write("PK\x06\x06", "latin1");
  end.writeBigUInt64LE(44n, 4);
  end.writeBigUInt64LE(entries64, 24);
  end.writeBigUInt64LE(entries64, 32);
  end.writeBigUInt64LE(bytes64, 40);
  end.writeBigUInt64LE(offset64, 48);
  end.write("PK\x06\x07", 56, "latin1");
  end.writeBigUInt64LE(BigInt(offset + bytes), 64);
  end.writeUInt32LE(1, 72);
  end.write("PK\x05\x06", 76, "latin1");
  // All ones: the number is in the ZIP64 record.
  end.writeUInt16LE(0xffff, 84);
  end.writeUInt16LE(0xffff, 86);
  end.writeUInt32LE(0xffffffff, 88);
  end.writeUInt32LE(0xffffffff, 92);
  return end;
}
