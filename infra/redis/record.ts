/**
 * How JSON values are stored: `1 <crc32 of the rest, 8 hex digits> <json>`.
 *
 * Redis and its append-only file have no checksum per record (a flipped bit there loads silently in
 * most cases), so every record carries its own and every reader checks it. A record that does not
 * pass is refused with RECORD_CORRUPT and never repaired.
 */
import { crc32 } from "node:zlib";
import { EyrieError } from "#infra/errors/error.ts";

const version = "1";

export function encodeRecord(value: unknown): string {
  const json = JSON.stringify(value);
  return `${version} ${crc32(json).toString(16).padStart(8, "0")} ${json}`;
}

/** The value's type is for the caller to name: a right checksum means that we wrote it. */
export function decodeRecord(record: string, what: string): unknown {
  const match = /^1 ([0-9a-f]{8}) /.exec(record);
  if (match === null) throw new EyrieError("RECORD_CORRUPT", { what, reason: "version" });
  const json = record.slice(match[0].length);
  if (crc32(json) !== Number.parseInt(match[1] ?? "", 16)) {
    throw new EyrieError("RECORD_CORRUPT", { what, reason: "checksum" });
  }
  return JSON.parse(json);
}
