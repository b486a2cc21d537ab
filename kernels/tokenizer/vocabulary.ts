/**
 * Reads a World vocabulary file: one token a line, `<id> <Python literal> <byte length>`.
 *
 * The literal is a str (`'…'`, `"…"`; `\xNN` is a code point) or bytes (`b'…'`; `\xNN` is a byte).
 * Literals contain spaces, so the id ends at the first space and the length starts after the last.
 * Escapes are exactly `\t \n \r \\ \' \xNN \uNNNN`, as in `rwkv_vocab_v20230424.txt` (ChatRWKV).
 *
 * Promises: ids 1 … 65535, no id and no byte string twice, every length field right, and a token for
 * each single byte, so that encoding cannot fail. A file that breaks this is refused as
 * `VOCABULARY_BROKEN` with its first bad line.
 */
import { readFileSync, statSync } from "node:fs";
import { ModelError, systemErrorCode } from "#kernels/errors.ts";

/** Token ids are 16 bits wide; 0 ends a text and has no bytes. */
export const tokenIdMax = 65535;
const tokenBytesMax = 1024;
/** The World vocabulary is 1.1 MB. */
const fileBytesMax = 16 << 20;

/** Index: token id. Ids without a token are undefined. */
export type Vocabulary = readonly (Uint8Array | undefined)[];

/** @throws ModelError `VOCABULARY_MISSING` or `VOCABULARY_BROKEN` */
export function readVocabulary(path: string): Vocabulary {
  let file: Uint8Array;
  try {
    if (statSync(path).size > fileBytesMax) throw new RangeError(`over ${fileBytesMax} bytes`);
    file = readFileSync(path);
  } catch (error) {
    const missing = ["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "");
    const code = missing ? "VOCABULARY_MISSING" : "VOCABULARY_BROKEN";
    throw new ModelError(code, { path, line: 0, reason: (error as Error).message });
  }
  return parseVocabulary(file, path);
}

/** `path` only names the file in an error. */
export function parseVocabulary(file: Uint8Array, path: string): Vocabulary {
  const broken = (line: number, reason: string): ModelError =>
    new ModelError("VOCABULARY_BROKEN", { path, line, reason });
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(file);
  } catch {
    throw broken(0, "not UTF-8");
  }
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();

  const vocabulary: (Uint8Array | undefined)[] = [];
  const idOf = new Map<string, number>();
  lines.forEach((line, index) => {
    const parsed = parseLine(line);
    if (typeof parsed === "string") throw broken(index + 1, parsed);
    const { id, bytes } = parsed;
    if (vocabulary[id] !== undefined) throw broken(index + 1, `id ${id} appears twice`);
    const key = Buffer.from(bytes).toString("latin1");
    if (idOf.has(key)) throw broken(index + 1, `ids ${idOf.get(key)} and ${id} are equal`);
    idOf.set(key, id);
    vocabulary[id] = bytes;
  });
  for (let byte = 0; byte < 256; byte++) {
    if (!idOf.has(String.fromCharCode(byte))) throw broken(0, `no token for the byte ${byte}`);
  }
  return vocabulary;
}

/** The token of a line, or the reason why it has none. */
function parseLine(line: string): { id: number; bytes: Uint8Array } | string {
  const idEnd = line.indexOf(" ");
  const lengthStart = line.lastIndexOf(" ");
  if (idEnd <= 0 || lengthStart <= idEnd) return "not <id> <literal> <length>";
  const id = parseCount(line.slice(0, idEnd));
  if (id === null || id === 0 || id > tokenIdMax) return `id is not 1 to ${tokenIdMax}`;
  const length = parseCount(line.slice(lengthStart + 1));
  if (length === null) return "length is not a number";
  const bytes = parseLiteral(line.slice(idEnd + 1, lengthStart));
  if (typeof bytes === "string") return bytes;
  if (bytes.length === 0) return "token is empty";
  if (bytes.length > tokenBytesMax) return `token is longer than ${tokenBytesMax} bytes`;
  if (bytes.length !== length) return `token has ${bytes.length} bytes, the line says ${length}`;
  return { id, bytes };
}

function parseCount(digits: string): number | null {
  return /^(0|[1-9]\d{0,8})$/.test(digits) ? Number(digits) : null;
}

function parseLiteral(literal: string): Uint8Array | string {
  const form = /^(b?)(['"])([^]*)\2$/.exec(literal);
  if (form === null) return "not a quoted literal";
  const [, prefix, quote, body] = form as unknown as [string, string, string, string];
  const isBytes = prefix === "b";
  const unescaped = unescape(body, quote, isBytes);
  if (unescaped === null) return "unknown escape or bare quote";
  if (isBytes) {
    return isLatin1(unescaped) ? Buffer.from(unescaped, "latin1") : "bytes hold a wide character";
  }
  return unescaped.isWellFormed() ? Buffer.from(unescaped, "utf8") : "lone surrogate";
}

/** Null where the body holds what the escapes above do not allow. */
function unescape(body: string, quote: string, isBytes: boolean): string | null {
  let valid = true;
  const unescaped = body.replaceAll(
    /\\(?:([tnr\\'])|x([0-9a-f]{2})|u([0-9a-f]{4}))|[\\'"]/g,
    (match: string, simple?: string, hex?: string, wide?: string) => {
      if (simple !== undefined) return simpleEscapes[simple as keyof typeof simpleEscapes];
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      if (wide !== undefined && !isBytes) return String.fromCharCode(Number.parseInt(wide, 16));
      if (match === "\\" || match === quote || wide !== undefined) valid = false;
      return match;
    },
  );
  return valid ? unescaped : null;
}

const simpleEscapes = { t: "\t", n: "\n", r: "\r", "\\": "\\", "'": "'" } as const;

function isLatin1(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0xff) return false;
  return true;
}
