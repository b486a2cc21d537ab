/**
 * Reads the header of a safetensors file and believes none of it.
 *
 * Format (huggingface/safetensors, README): u64 little-endian header length, JSON header
 * `{name: {dtype, shape, data_offsets: [begin, end]}, __metadata__?: {…}}`, then the data, which the
 * tensors cover exactly: no hole, no overlap, no byte after the last.
 *
 * Works on the header alone, so a hostile file costs at most `headerBytesMax` of memory and no
 * tensor is touched. Every refusal is a `HeaderRefusal` with a name from `HeaderReason`.
 */

/** 710 tensors of the 7B model need under 100 KB; a larger header is an attack or not a model. */
export const headerBytesMax = 1_000_000;
export const tensorsMax = 4096;
export const rankMax = 8;
/** The header itself, and a tensor or `__metadata__` in it. */
const objectDepthMax = 2;

const dtypeBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const;

export type Dtype = keyof typeof dtypeBytes;

export type HeaderReason =
  | "file-too-short"
  | "header-empty"
  | "header-too-large"
  | "header-past-end"
  | "header-not-object"
  | "header-not-utf8"
  | "header-not-json"
  | "too-deep"
  | "duplicate-key"
  | "reserved-name"
  | "bad-metadata"
  | "bad-entry"
  | "too-many-tensors"
  | "unknown-dtype"
  | "bad-shape"
  | "rank"
  | "size-overflow"
  | "bad-offsets"
  | "size-mismatch"
  | "overlap"
  | "hole"
  | "trailing-bytes"
  | "truncated";

export class HeaderRefusal extends Error {
  readonly reason: HeaderReason;

  constructor(reason: HeaderReason, detail: string) {
    super(`${reason}: ${detail}`);
    this.name = "HeaderRefusal";
    this.reason = reason;
  }
}

/** Where one tensor lies. `begin` counts from the start of the data, not of the file. */
export interface HeaderEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface Header {
  /** In file order. */
  readonly entries: readonly HeaderEntry[];
  readonly metadata: ReadonlyMap<string, string>;
}

export function bytesPerElement(dtype: Dtype): number {
  return dtypeBytes[dtype];
}

/**
 * Length of the JSON header, from the first eight bytes of a file of `fileBytes` bytes.
 * Everything that can be refused without reading further is refused here.
 */
export function parseHeaderLength(prefix: Uint8Array, fileBytes: number): number {
  if (prefix.length < 8 || fileBytes < 8) {
    throw new HeaderRefusal("file-too-short", `${fileBytes} bytes, a header length takes 8`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length === 0n) throw new HeaderRefusal("header-empty", "header length is 0");
  if (length > BigInt(headerBytesMax)) {
    throw new HeaderRefusal("header-too-large", `${length} bytes, at most ${headerBytesMax}`);
  }
  if (length > BigInt(fileBytes - 8)) {
    throw new HeaderRefusal("header-past-end", `${length} bytes, the file has ${fileBytes - 8}`);
  }
  return Number(length);
}

/** Parses and checks the JSON header of a file whose data part is `dataBytes` long. */
export function parseHeader(json: Uint8Array, dataBytes: number): Header {
  if (json[0] !== 0x7b) throw new HeaderRefusal("header-not-object", "does not start with {");
  const text = decodeUtf8(json);
  refuseHostileNames(text);
  const parsed = parseJson(text);
  if (!isRecord(parsed)) throw new HeaderRefusal("header-not-object", "not a JSON object");

  const entries: HeaderEntry[] = [];
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of Object.entries(parsed)) {
    if (name === "__metadata__") {
      metadata = parseMetadata(value);
      continue;
    }
    if (entries.length === tensorsMax) {
      throw new HeaderRefusal("too-many-tensors", `more than ${tensorsMax}`);
    }
    entries.push(parseEntry(name, value));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  refuseGaps(entries, dataBytes);
  return { entries, metadata };
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new HeaderRefusal("header-not-utf8", "invalid UTF-8 in the header");
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new HeaderRefusal("header-not-json", "the header is not JSON");
  }
}

/**
 * What must be known before JSON.parse builds anything. It keeps the last of equal keys where another
 * reader may keep the first, so both would see different tensors in one file; and a megabyte of
 * braces or names would take it a third of a second. In JSON a string before a colon is a key; text
 * that is not JSON may be refused here for another reason than that.
 */
function refuseHostileNames(text: string): void {
  const open: Set<string>[] = [];
  for (const [lexeme, colon] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}]/g)) {
    if (lexeme === "{") {
      if (open.length === objectDepthMax) {
        throw new HeaderRefusal("too-deep", `objects nested more than ${objectDepthMax} deep`);
      }
      open.push(new Set());
    } else if (lexeme === "}") open.pop();
    else if (colon !== undefined) addKey(open.at(-1), lexeme.slice(0, -colon.length));
  }
}

function addKey(keys: Set<string> | undefined, literal: string): void {
  const key = String(parseJson(literal));
  if (keys?.has(key) === true) throw new HeaderRefusal("duplicate-key", `${shown(key)} twice`);
  keys?.add(key);
  // One more for `__metadata__`; its own names are held to the same number.
  if (keys !== undefined && keys.size > tensorsMax + 1) {
    throw new HeaderRefusal("too-many-tensors", `more than ${tensorsMax} names`);
  }
}

function parseMetadata(value: unknown): ReadonlyMap<string, string> {
  if (!isRecord(value)) throw new HeaderRefusal("bad-metadata", "__metadata__ is not an object");
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw new HeaderRefusal("bad-metadata", `${shown(key)} is not a string`);
    }
    metadata.set(key, text);
  }
  return metadata;
}

function parseEntry(name: string, value: unknown): HeaderEntry {
  if (name === "__proto__" || name === "constructor" || name === "prototype") {
    throw new HeaderRefusal("reserved-name", `a tensor may not be called ${name}`);
  }
  if (!isRecord(value) || Object.keys(value).length !== 3) {
    throw new HeaderRefusal("bad-entry", `${shown(name)} is not {dtype, shape, data_offsets}`);
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) throw new HeaderRefusal("unknown-dtype", `${shown(name)}: ${shown(dtype)}`);
  const elements = elementCount(name, shape);
  if (!isCountList(offsets) || offsets.length !== 2) {
    throw new HeaderRefusal("bad-offsets", `${shown(name)}: ${shown(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw new HeaderRefusal("bad-offsets", `${shown(name)} ends before it begins`);
  const bytes = elements * dtypeBytes[dtype];
  if (!Number.isSafeInteger(bytes)) {
    throw new HeaderRefusal("size-overflow", `${shown(name)} is larger than any file`);
  }
  if (end - begin !== bytes) {
    const wanted = `${shown(name)} needs ${bytes} bytes`;
    throw new HeaderRefusal("size-mismatch", `${wanted}, its offsets give ${end - begin}`);
  }
  return { name, dtype, shape: shape as readonly number[], begin, end };
}

function elementCount(name: string, shape: unknown): number {
  if (!isCountList(shape)) throw new HeaderRefusal("bad-shape", `${shown(name)}: ${shown(shape)}`);
  if (shape.length > rankMax) {
    throw new HeaderRefusal("rank", `${shown(name)} has rank ${shape.length}, at most ${rankMax}`);
  }
  let elements = 1;
  for (const extent of shape) {
    // Checked at every factor: a later 0 must not hide an overflow.
    elements *= extent;
    if (!Number.isSafeInteger(elements)) {
      throw new HeaderRefusal("size-overflow", `${shown(name)}: ${shown(shape)}`);
    }
  }
  return elements;
}

function refuseGaps(entries: readonly HeaderEntry[], dataBytes: number): void {
  let covered = 0;
  for (const { name, begin, end } of entries) {
    if (begin < covered) {
      throw new HeaderRefusal("overlap", `${shown(name)} starts at ${begin}, before ${covered}`);
    }
    if (begin > covered) {
      throw new HeaderRefusal("hole", `bytes ${covered} to ${begin} belong to no tensor`);
    }
    covered = end;
  }
  if (covered > dataBytes) {
    throw new HeaderRefusal("truncated", `${dataBytes} bytes of data, the tensors need ${covered}`);
  }
  if (covered < dataBytes) {
    throw new HeaderRefusal("trailing-bytes", `${dataBytes - covered} bytes after the last tensor`);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isDtype(value: unknown): value is Dtype {
  return typeof value === "string" && Object.hasOwn(dtypeBytes, value);
}

function isCountList(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** A hostile value in an error message: quoted, short, on one line. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
