/**
 * A pickle machine that can build dictionaries of tensors and nothing else.
 *
 * Takes protocol 2, as torch.save writes it, and only the opcodes a state dictionary needs (Lib/
 * pickletools.py names them). Nothing is imported and nothing is called: a global is a name on an
 * allow-list (`pickle-values.ts`). Iterative throughout, values are shared and never copied, so that
 * nesting and memo tricks cost no more than their opcodes; the numbers of bytes, values, stack
 * entries and memo entries are bounded.
 */
import { FormatRefusal } from "./refusal.ts";
import {
  call,
  type Dict,
  global,
  isKind,
  newDict,
  persistent,
  type Value,
} from "./pickle-values.ts";

/** 7B weights need 120 kB. */
export const pickleBytesMax = 2 << 20;
/** They need 40,000. This many cost under 64 MiB and 100 ms, whatever they are. */
const valuesMax = 100_000;

/** Names for the opcodes that people ask about when they are refused. */
const refusedOpcodes: Readonly<Record<number, string>> = {
  0x49: "INT",
  0x4c: "LONG",
  0x50: "PERSID",
  0x69: "INST",
  0x6f: "OBJ",
  0x82: "EXT1",
  0x83: "EXT2",
  0x84: "EXT4",
  0x8b: "LONG4",
  0x92: "NEWOBJ_EX",
  0x93: "STACK_GLOBAL",
  0x95: "FRAME",
};

/** The one value that the pickle stands for. */
export function readPickle(bytes: Buffer): Value {
  if (bytes.length > pickleBytesMax) {
    const detail = `${bytes.length} bytes, at most ${pickleBytesMax}`;
    throw new FormatRefusal("pickle-too-large", detail);
  }
  return new Machine(bytes).run();
}

class Machine {
  readonly #bytes: Buffer;
  #at = 0;
  #made = 0;
  readonly #stack: Value[] = [];
  /** Heights of the stack at which a MARK lies. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, Value>();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  run(): Value {
    const [opcode, protocol] = [this.#byte(), this.#byte()];
    if (opcode !== 0x80 || protocol !== 2) {
      const found = opcode === 0x80 ? `protocol ${protocol}` : "no protocol";
      throw new FormatRefusal("pickle-protocol", `${found}; torch.save writes protocol 2`);
    }
    while (this.#step(this.#byte())) {
      if (this.#stack.length + this.#marks.length > valuesMax || this.#memo.size > valuesMax) {
        throw new FormatRefusal("pickle-too-many-values", `more than ${valuesMax} at a time`);
      }
    }
    const value = this.#pop();
    if (this.#stack.length > 0 || this.#marks.length > 0) {
      throw new FormatRefusal("pickle-stack", "more than one value at the end");
    }
    if (this.#at !== this.#bytes.length) {
      throw new FormatRefusal(
        "pickle-trailing",
        `${this.#bytes.length - this.#at} bytes after STOP`,
      );
    }
    return value;
  }

  /** Runs one opcode; false at STOP. */
  #step(opcode: number): boolean {
    switch (opcode) {
      case 0x2e: // STOP
        return false;
      case 0x28: // MARK
        this.#marks.push(this.#stack.length);
        return true;
      case 0x63: // GLOBAL
        this.#make(global(this.#line(), this.#line()));
        return true;
      case 0x71: // BINPUT
        this.#memo.set(this.#byte(), this.#top());
        return true;
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#take(4).readUInt32LE(), this.#top());
        return true;
      case 0x68: // BINGET
        this.#stack.push(this.#remembered(this.#byte()));
        return true;
      case 0x6a: // LONG_BINGET
        this.#stack.push(this.#remembered(this.#take(4).readUInt32LE()));
        return true;
      case 0x52: // REDUCE
        this.#reduce();
        return true;
      case 0x81: // NEWOBJ
        this.#newObject();
        return true;
      case 0x62: // BUILD
        this.#build();
        return true;
      case 0x51: // BINPERSID
        this.#make(persistent(this.#pop()));
        return true;
      default:
        if (!this.#scalar(opcode) && !this.#collection(opcode))
          throw unknownOpcode(opcode, this.#at);
        return true;
    }
  }

  #scalar(opcode: number): boolean {
    switch (opcode) {
      case 0x4e: // NONE
        this.#make(null);
        return true;
      case 0x88: // NEWTRUE
        this.#make(true);
        return true;
      case 0x89: // NEWFALSE
        this.#make(false);
        return true;
      case 0x4a: // BININT
        this.#make(this.#take(4).readInt32LE());
        return true;
      case 0x4b: // BININT1
        this.#make(this.#byte());
        return true;
      case 0x4d: // BININT2
        this.#make(this.#take(2).readUInt16LE());
        return true;
      case 0x8a: // LONG1
        this.#make(this.#long());
        return true;
      case 0x47: // BINFLOAT
        this.#make(this.#take(8).readDoubleBE());
        return true;
      case 0x58: // BINUNICODE
        this.#make(this.#text());
        return true;
      default:
        return false;
    }
  }

  #collection(opcode: number): boolean {
    switch (opcode) {
      case 0x29: // EMPTY_TUPLE
        this.#make({ kind: "tuple", items: [] });
        return true;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        this.#make({ kind: "tuple", items: this.#popMany(opcode - 0x84) });
        return true;
      case 0x74: // TUPLE
        this.#make({ kind: "tuple", items: this.#popToMark() });
        return true;
      case 0x5d: // EMPTY_LIST
        this.#make({ kind: "list", items: [] });
        return true;
      case 0x61: // APPEND
        this.#append([this.#pop()]);
        return true;
      case 0x65: // APPENDS
        this.#append(this.#popToMark());
        return true;
      case 0x7d: // EMPTY_DICT
        this.#make(newDict());
        return true;
      case 0x73: // SETITEM
        this.#setItems(this.#popMany(2));
        return true;
      case 0x75: // SETITEMS
        this.#setItems(this.#popToMark());
        return true;
      default:
        return false;
    }
  }

  #reduce(): void {
    const args = this.#pop();
    this.#make(call(this.#pop(), args));
  }

  /** `cls.__new__(cls, *args)`: as REDUCE, for the one class on the list. */
  #newObject(): void {
    const args = this.#pop();
    const made = call(this.#pop(), args);
    if (!isKind(made, "dict")) throw new FormatRefusal("pickle-call", "NEWOBJ of another class");
    this.#make(made);
  }

  /** Attributes of a dictionary, such as `_metadata`, hold no weights: checked, then dropped. */
  #build(): void {
    const state = this.#pop();
    if (!isKind(state, "dict") || !isKind(this.#top(), "dict")) {
      throw new FormatRefusal("pickle-call", "BUILD of something other than a dictionary");
    }
  }

  #append(items: readonly Value[]): void {
    const list = this.#top();
    if (!isKind(list, "list")) throw new FormatRefusal("pickle-stack", "no list to append to");
    for (const item of items) list.items.push(item);
  }

  #setItems(items: readonly Value[]): void {
    const dict = this.#top();
    if (!isKind(dict, "dict") || items.length % 2 !== 0) {
      throw new FormatRefusal("pickle-stack", "no dictionary to set pairs in");
    }
    for (let i = 0; i < items.length; i += 2) setItem(dict, items[i]!, items[i + 1]!);
  }

  /** Pushes a new value; one that exists already is pushed on the stack directly. */
  #make(value: Value): void {
    if (++this.#made > valuesMax) {
      throw new FormatRefusal("pickle-too-many-values", `more than ${valuesMax}`);
    }
    this.#stack.push(value);
  }

  /** The top of the stack; what lies below a MARK is out of reach. */
  #top(): Value {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw emptyStack();
    return this.#stack.at(-1)!;
  }

  #pop(): Value {
    const value = this.#top();
    this.#stack.pop();
    return value;
  }

  #popMany(count: number): Value[] {
    if (this.#stack.length - (this.#marks.at(-1) ?? 0) < count) throw emptyStack();
    return this.#stack.splice(this.#stack.length - count, count);
  }

  #popToMark(): Value[] {
    const height = this.#marks.pop();
    if (height === undefined) throw new FormatRefusal("pickle-stack", "no MARK");
    return this.#stack.splice(height);
  }

  #remembered(index: number): Value {
    const value = this.#memo.get(index);
    if (value === undefined) throw new FormatRefusal("pickle-memo", `${index} was never put`);
    return value;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new FormatRefusal("pickle-truncated", `at ${this.#at}`);
    this.#at++;
    return byte;
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new FormatRefusal("pickle-truncated", `at ${this.#at}`);
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw new FormatRefusal("pickle-truncated", "a global without an end");
    const line = this.#take(end - this.#at);
    this.#at++;
    return line.subarray(0, 200).toString("latin1");
  }

  #text(): string {
    const bytes = this.#take(this.#take(4).readUInt32LE());
    try {
      return this.#decoder.decode(bytes);
    } catch {
      throw new FormatRefusal("pickle-text", "not UTF-8");
    }
  }

  /** Two's complement, little-endian. Sizes fit 8 bytes and a double; larger numbers are an attack. */
  #long(): number {
    const length = this.#byte();
    if (length > 8) throw new FormatRefusal("pickle-number", `an integer of ${length} bytes`);
    const bytes = this.#take(length);
    const bits = bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
    const value = Number(BigInt.asIntN(8 * length, bits));
    if (!Number.isSafeInteger(value)) throw new FormatRefusal("pickle-number", "beyond 53 bits");
    return value;
  }
}

/** No dictionary that Python wrote has a key twice. */
function setItem(dict: Dict, key: Value, value: Value): void {
  if (typeof key === "object") throw new FormatRefusal("pickle-key", "a key that is no name");
  if (dict.entries.has(key)) throw new FormatRefusal("pickle-key", "a key twice");
  dict.entries.set(key, value);
}

function unknownOpcode(opcode: number, after: number): FormatRefusal {
  const name = refusedOpcodes[opcode];
  const hex = `0x${opcode.toString(16)}`;
  const detail = `${name === undefined ? hex : `${name} (${hex})`} at ${after - 1}`;
  return new FormatRefusal("pickle-opcode", `${detail} is not part of weights`);
}

function emptyStack(): FormatRefusal {
  return new FormatRefusal("pickle-stack", "empty");
}
