/**
 * Finds the members of a ZIP file, ZIP64 too, and believes none of it (APPNOTE.TXT 6.3.10).
 *
 * Only what torch.save writes is taken: stored members, one disk, the central directory directly
 * before the end records, no comment. Promises that members have unique relative names, that their
 * data lie inside the file, before the directory, and that no two share a byte. Reads the end
 * records, the directory (`directoryBytesMax` at most) and the local headers; no member's data.
 */
import type { ByteSource } from "./byte-source.ts";
import { FormatRefusal, shown } from "./refusal.ts";

/** A 7B model has 712 members and a directory of 50 kB. */
export const membersMax = 10_000;
const directoryBytesMax = 4 << 20;

const endBytes = 22;
const end64LocatorBytes = 20;
const end64BytesMin = 56;
const entryBytes = 46;
const localBytes = 30;
const in64 = 0xffff_ffff;

export interface ZipMember {
  readonly name: string;
  /** First byte of the data, counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

interface Directory {
  readonly offset: number;
  readonly bytes: number;
  readonly entries: number;
}

interface Entry {
  readonly name: string;
  readonly bytes: number;
  readonly headerOffset: number;
}

export function readZip(source: ByteSource): ReadonlyMap<string, ZipMember> {
  const directory = findDirectory(source);
  const entries = readEntries(source.read(directory.offset, directory.bytes), directory.entries);
  entries.sort((a, b) => a.headerOffset - b.headerOffset);
  const members = new Map<string, ZipMember>();
  let free = 0;
  for (const entry of entries) {
    const { name, bytes, headerOffset } = entry;
    if (members.has(name)) throw new FormatRefusal("zip-duplicate", `${shown(name)} twice`);
    if (headerOffset < free) {
      throw new FormatRefusal(
        "zip-overlap",
        `${shown(name)} starts at ${headerOffset}, in another`,
      );
    }
    const offset = dataOffset(source, entry);
    free = offset + bytes;
    if (!Number.isSafeInteger(free) || free > directory.offset) {
      throw new FormatRefusal("zip-overlap", `${shown(name)} reaches into the directory`);
    }
    members.set(name, { name, offset, bytes });
  }
  return members;
}

function findDirectory(source: ByteSource): Directory {
  if (source.size < endBytes) throw new FormatRefusal("zip-truncated", `${source.size} bytes`);
  const endOffset = source.size - endBytes;
  const end = source.read(endOffset, endBytes);
  if (end.readUInt32LE(0) !== 0x06054b50 || end.readUInt16LE(20) !== 0) {
    throw new FormatRefusal(
      "zip-end",
      "no end record in the last 22 bytes: cut off, or not from torch",
    );
  }
  if (end.readUInt16LE(4) !== 0 || end.readUInt16LE(6) !== 0) {
    throw new FormatRefusal("zip-split", "one part of several");
  }
  const small = {
    offset: end.readUInt32LE(16),
    bytes: end.readUInt32LE(12),
    entries: end.readUInt16LE(10),
  };
  const large = findDirectory64(source, endOffset);
  const directory = large === null ? small : large.directory;
  if (large !== null) agree(small, large.directory);
  const recordsOffset = large === null ? endOffset : large.recordOffset;
  if (directory.entries > membersMax || directory.bytes > directoryBytesMax) {
    const found = `${directory.entries} members in ${directory.bytes} bytes`;
    throw new FormatRefusal("zip-too-many-members", `${found}, at most ${membersMax}`);
  }
  if (directory.offset + directory.bytes !== recordsOffset) {
    throw new FormatRefusal("zip-directory", "does not end where the end records begin");
  }
  return directory;
}

/** Null when the file has no ZIP64 end record. */
function findDirectory64(
  source: ByteSource,
  endOffset: number,
): { directory: Directory; recordOffset: number } | null {
  const locatorOffset = endOffset - end64LocatorBytes;
  if (locatorOffset < end64BytesMin) return null;
  const locator = source.read(locatorOffset, end64LocatorBytes);
  if (locator.readUInt32LE(0) !== 0x07064b50) return null;
  const recordOffset = count64(locator, 8);
  if (recordOffset > locatorOffset - end64BytesMin) {
    throw new FormatRefusal("zip64", "its end record lies outside of the file");
  }
  const record = source.read(recordOffset, end64BytesMin);
  const sound =
    record.readUInt32LE(0) === 0x06064b50 &&
    recordOffset + 12 + count64(record, 4) === locatorOffset;
  if (!sound) throw new FormatRefusal("zip64", "its end record is not where the locator says");
  if (record.readUInt32LE(16) !== 0 || record.readUInt32LE(20) !== 0) {
    throw new FormatRefusal("zip-split", "one part of several");
  }
  if (count64(record, 24) !== count64(record, 32)) {
    throw new FormatRefusal("zip64", "two numbers of members");
  }
  const directory = {
    entries: count64(record, 32),
    bytes: count64(record, 40),
    offset: count64(record, 48),
  };
  return { directory, recordOffset };
}

/** The old end record says the same, or that it cannot say it. */
function agree(small: Directory, large: Directory): void {
  const same =
    (small.entries === 0xffff || small.entries === large.entries) &&
    (small.bytes === in64 || small.bytes === large.bytes) &&
    (small.offset === in64 || small.offset === large.offset);
  if (!same) throw new FormatRefusal("zip64", "the two end records disagree");
}

function readEntries(directory: Buffer, count: number): Entry[] {
  const entries: Entry[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (at + entryBytes > directory.length || directory.readUInt32LE(at) !== 0x02014b50) {
      throw new FormatRefusal("zip-directory", `no entry ${index}`);
    }
    const nameBytes = directory.readUInt16LE(at + 28);
    const extraBytes = directory.readUInt16LE(at + 30);
    const next = at + entryBytes + nameBytes + extraBytes + directory.readUInt16LE(at + 32);
    if (next > directory.length) throw new FormatRefusal("zip-directory", `entry ${index} is cut`);
    const nameAt = at + entryBytes;
    const name = parseName(directory.subarray(nameAt, nameAt + nameBytes));
    const extra = directory.subarray(nameAt + nameBytes, nameAt + nameBytes + extraBytes);
    entries.push(parseEntry(name, directory.subarray(at, nameAt), extra));
    at = next;
  }
  if (at !== directory.length)
    throw new FormatRefusal("zip-directory", "more entries than counted");
  return entries;
}

function parseName(bytes: Buffer): string {
  const name = bytes.toString("latin1");
  const plain = /^[\x20-\x7e]+$/.test(name) && !/[\\:]/.test(name);
  const parts = name.split("/");
  if (!plain || parts.some((part) => part === "" || part === "." || part === "..")) {
    throw new FormatRefusal("zip-path", `${shown(name)} is not a plain relative name`);
  }
  return name;
}

function parseEntry(name: string, fixed: Buffer, extra: Buffer): Entry {
  if ((fixed.readUInt16LE(8) & 1) !== 0) {
    throw new FormatRefusal("zip-encrypted", shown(name));
  }
  if (fixed.readUInt16LE(10) !== 0) {
    throw new FormatRefusal(
      "zip-compressed",
      `${shown(name)}; torch.save stores without compressing`,
    );
  }
  if (fixed.readUInt16LE(34) !== 0) throw new FormatRefusal("zip-split", shown(name));
  const wide = new Extra64(name, extra);
  const bytes = wide.widen(fixed.readUInt32LE(24));
  const stored = wide.widen(fixed.readUInt32LE(20));
  const headerOffset = wide.widen(fixed.readUInt32LE(42));
  if (bytes !== stored) {
    throw new FormatRefusal("zip-directory", `${shown(name)} is stored, but with two lengths`);
  }
  return { name, bytes, headerOffset };
}

/** The ZIP64 extra field of an entry: one 64-bit number for each field that is all ones, in order. */
class Extra64 {
  readonly #name: string;
  readonly #field: Buffer;
  #at = 0;

  constructor(name: string, extra: Buffer) {
    this.#name = name;
    const fields: Buffer[] = [];
    for (let at = 0; at + 4 <= extra.length;) {
      const end = at + 4 + extra.readUInt16LE(at + 2);
      if (end > extra.length)
        throw new FormatRefusal("zip64", `${shown(name)}: extra field is cut`);
      if (extra.readUInt16LE(at) === 1) fields.push(extra.subarray(at + 4, end));
      at = end;
    }
    if (fields.length > 1) throw new FormatRefusal("zip64", `${shown(name)}: two extra fields`);
    this.#field = fields[0] ?? Buffer.alloc(0);
  }

  widen(small: number): number {
    if (small !== in64) return small;
    if (this.#at + 8 > this.#field.length) {
      throw new FormatRefusal("zip64", `${shown(this.#name)}: extra field is too short`);
    }
    const value = count64(this.#field, this.#at);
    this.#at += 8;
    return value;
  }
}

/** Lengths in local headers may be left open by the format; name and method may not differ. */
function dataOffset(source: ByteSource, { name, headerOffset }: Entry): number {
  const header = source.read(headerOffset, localBytes);
  const nameBytes = header.readUInt16LE(26);
  const sound =
    header.readUInt32LE(0) === 0x04034b50 &&
    header.readUInt16LE(8) === 0 &&
    nameBytes === name.length &&
    source.read(headerOffset + localBytes, nameBytes).toString("latin1") === name;
  if (!sound)
    throw new FormatRefusal("zip-local-header", `${shown(name)} is called otherwise there`);
  return headerOffset + localBytes + nameBytes + header.readUInt16LE(28);
}

function count64(bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new FormatRefusal("zip64", `${value} is larger than any file`);
  }
  return Number(value);
}
