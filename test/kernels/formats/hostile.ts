/**
 * Files that a reader of .pth must refuse, by the reason it must give and what is wrong with them.
 * `test/corpus/pth/` holds the same bytes as files: `REASON.WHAT.pth`.
 */
import {
  begin,
  type Member,
  membersOf,
  type Pickle,
  stateDict,
  type Tensor,
  torchFile,
  zip,
  type ZipLies,
} from "./torch-file.ts";

const one: Tensor = { name: "w", dtype: "F32", shape: [2, 2], data: Buffer.alloc(16, 1) };
const [mark, reduce, stop] = [0x28, 0x52, 0x2e];

const pickled = (pickle: Pickle): Buffer => torchFile([one], pickle.bytes());
const tensor = (lie: Partial<Tensor>): Buffer => torchFile([{ ...one, ...lie }]);
const dict = (): Pickle => begin().orderedDict();
/** A good file, but for one member. */
const member = (lie: Partial<Member>): Buffer => {
  const members = membersOf(stateDict([one]), [one]);
  return zip(members.map((each, index) => (index === 1 ? { ...each, ...lie } : each)));
};
const ended = (lies: ZipLies): Buffer => zip(membersOf(stateDict([one]), [one]), lies);
const call = (module: string, name: string): Pickle =>
  begin().global(module, name).raw(mark).text("echo hacked").raw(0x74, reduce, stop);

function extra64(...values: bigint[]): Buffer {
  const field = Buffer.alloc(4 + 8 * values.length);
  field.writeUInt16LE(1, 0);
  field.writeUInt16LE(8 * values.length, 2);
  values.forEach((value, index) => field.writeBigUInt64LE(value, 4 + 8 * index));
  return field;
}

/** Each entry of the memo holds the one before ten times: 10^60 strings if it were ever unfolded. */
function laughs(): Pickle {
  const pickle = begin().raw(mark, 0x5d).put();
  for (let level = 0; level < 60; level++) {
    pickle.raw(0x5d).put().raw(mark);
    for (let i = 0; i < 10; i++) pickle.raw(0x68, level);
    pickle.raw(0x65);
  }
  return pickle.raw(0x74, stop);
}

function deep(): Pickle {
  return begin().raw(...Array.from({ length: 60_000 }, () => mark), stop);
}

const good = torchFile([one]);
const overlapping = ((): Buffer => {
  const [pickle, data] = membersOf(stateDict([one]), [one]);
  return zip([pickle!, data!, { ...data!, name: "archive/data/1", headerOffset: 0 }]);
})();
const twice = ((): Buffer => {
  const members = membersOf(stateDict([one]), [one]);
  return zip([...members, members[1]!]);
})();

export const hostileFiles: ReadonlyMap<string, Buffer> = new Map([
  // code
  ["pickle-global.os-system", pickled(call("os", "system"))],
  ["pickle-global.posix-system", pickled(call("posix", "system"))],
  ["pickle-global.eval", pickled(call("builtins", "eval"))],
  ["pickle-global.getattr", pickled(call("__builtin__", "getattr"))],
  ["pickle-global.dotted-name", pickled(call("torch", "_utils._rebuild_tensor_v2"))],
  ["pickle-global.torch-load", pickled(call("torch.serialization", "load"))],
  ["pickle-global.half-line", pickled(begin().global("o".repeat(5000), "system"))],
  ["pickle-call.inert-type", pickled(begin().global("torch", "Tensor").raw(0x29, reduce, stop))],
  ["pickle-call.text", pickled(begin().text("os.system").raw(0x29, reduce, stop))],
  ["pickle-call.hooks", pickled(hooked())],
  ["pickle-call.build", pickled(dict().raw(0x28).text("x").raw(0x74, 0x62, stop))],
  ["pickle-call.persistent", pickled(begin().text("file:///etc/passwd").raw(0x51, stop))],
  ["pickle-call.newobj", pickled(begin().global("torch", "FloatStorage").raw(0x29, 0x81, stop))],
  ["pickle-opcode.stack-global", pickled(begin().text("os").text("system").raw(0x93, stop))],
  ["pickle-opcode.inst", pickled(begin().raw(mark, 0x69, 0x6f, 0x73, 0x0a, 0x78, 0x0a, stop))],
  ["pickle-opcode.frame", pickled(begin().raw(0x95, 1, 0, 0, 0, 0, 0, 0, 0, 0x4e, stop))],
  ["pickle-opcode.long4", pickled(begin().raw(0x8b, 0xff, 0xff, 0xff, 0x7f))],
  ["pickle-opcode.unknown", pickled(begin().raw(0xff, stop))],
  ["pickle-protocol.four", ofProtocol(4)],
  ["pickle-protocol.five", ofProtocol(5)],
  // bombs
  ["not-a-state-dict.billion-laughs", pickled(laughs())],
  ["pickle-number.huge-long", pickled(begin().long(-1n, 255).raw(stop))],
  [
    "pickle-number.beyond-double",
    pickled(
      begin()
        .long(2n ** 60n, 8)
        .raw(stop),
    ),
  ],
  ["pickle-truncated.huge-text", pickled(begin().raw(0x58, 0xff, 0xff, 0xff, 0xff))],
  ["pickle-stack.deep-nesting", pickled(deep())],
  ["pickle-stack.empty", pickled(begin().raw(stop))],
  ["pickle-stack.below-mark", pickled(begin().raw(0x4e, mark, 0x85, stop))],
  ["pickle-memo.never-put", pickled(begin().raw(0x68, 9, stop))],
  ["pickle-trailing.second-pickle", pickled(dict().raw(stop, 0x80, 2, 0x4e, stop))],
  ["pickle-text.not-utf8", pickled(begin().raw(0x58, 1, 0, 0, 0, 0xff, stop))],
  ["pickle-key.twice", torchFile([one, one])],
  ["pickle-key.dictionary", pickled(dict().raw(0x7d, 0x4e, 0x73, stop))],
  // tensors
  ["tensor-past-end.shape", tensor({ shape: [4, 4] })],
  ["tensor-past-end.offset", tensor({ offset: 1 })],
  ["tensor-shape.negative", tensor({ shape: [-2, -2] })],
  ["tensor-shape.overflow", tensor({ shape: [2 ** 30, 2 ** 30], strides: [2 ** 30, 1] })],
  ["tensor-shape.strides", tensor({ strides: [1] })],
  ["pickle-call.negative-offset", tensor({ offset: -4 })],
  ["tensor-strides.transposed", tensor({ strides: [1, 2] })],
  ["tensor-strides.broadcast", tensor({ shape: [4, 4], strides: [0, 1] })],
  ["storage-size.smaller", tensor({ elements: 1000 })],
  ["storage-missing.other-key", tensor({ key: "7" })],
  ["storage-missing.path", tensor({ key: "../data.pkl" })],
  ["storage-type.bytes", pickled(begin().global("torch", "ByteStorage").raw(stop))],
  ["byte-order.big", bigEndian()],
  // ZIP
  ["zip-path.parent", member({ name: "archive/../../etc/passwd" })],
  ["zip-path.absolute", member({ name: "/etc/passwd" })],
  ["zip-path.backslash", member({ name: "archive\\..\\x" })],
  ["zip-local-header.other-name", member({ localName: "archive/data/X" })],
  ["zip-compressed.deflate", member({ method: 8 })],
  ["zip-encrypted.bit", member({ flags: 1 })],
  ["zip-directory.two-lengths", member({ storedBytes: 4 })],
  ["zip-overlap.too-long", member({ bytes: 4096, storedBytes: 4096 })],
  ["zip-overlap.inside-another", overlapping],
  ["zip-duplicate.name", twice],
  ["zip64.lies-about-length", member({ bytes: 0xffffffff, extra: extra64(2n ** 63n, 16n) })],
  ["zip64.no-extra-field", member({ bytes: 0xffffffff })],
  ["zip64.directory-past-end", ended({ offset64: 2n ** 60n })],
  ["zip-directory.offset", ended({ offset64: 3n })],
  ["zip-directory.count", ended({ entries64: 9n })],
  ["zip-too-many-members.million", ended({ entries64: 1_000_000n })],
  ["zip-too-many-members.directory", ended({ bytes64: 2n ** 40n })],
  ["zip-end.cut", good.subarray(0, good.length - 300)],
  ["zip-end.trailing", Buffer.concat([good, Buffer.from("more")])],
  ["zip-end.junk", Buffer.from("PK\x03\x04 and nothing that belongs to it")],
  ["zip-truncated.start", good.subarray(0, 10)],
  ["pickle-missing.other-archive", zip([{ name: "a.txt", data: Buffer.from("a") }])],
]);

function hooked(): Pickle {
  const pickle = begin().global("torch._utils", "_rebuild_tensor_v2").raw(mark, mark);
  pickle.text("storage").global("torch", "FloatStorage").text("0").text("cpu").int(4);
  pickle.raw(0x74, 0x51).int(0).ints([4]).ints([1]).raw(0x89).orderedDict();
  return pickle.raw(mark).text("h").raw(0x4e, 0x75, 0x74, reduce, stop);
}

/** A good pickle that says it is of another protocol. */
function ofProtocol(protocol: number): Buffer {
  const pickle = Buffer.from(stateDict([one]));
  pickle[1] = protocol;
  return torchFile([one], pickle);
}

function bigEndian(): Buffer {
  const order = { name: "archive/byteorder", data: Buffer.from("big") };
  return zip([...membersOf(stateDict([one]), [one]), order]);
}
