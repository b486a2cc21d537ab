/**
 * Records as they are stored: plain, or sealed with the operator's keys where some are set.
 *
 * JSON values are text, `1 <crc> <json>` (record.ts) or `2 <base64url of the sealed first form>`; the
 * binary ones (token blocks, past turns, snapshots) are bytes, plain or sealed as they are. Readers
 * take both forms, so keys can be set on a platform that has run without, and writers use one: a
 * record is sealed anew, with the first key, whenever it is written.
 */
import type { Redis } from "ioredis";
import type { Config } from "#infra/config/config.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { isSealed, keyIdOf, KeyRing, type Place } from "./keyring.ts";
import { keysInUseKey } from "./keys.ts";
import { decodeRecord, encodeRecord } from "./record.ts";

const sealedPrefix = "2 ";

export class Records {
  readonly #ring: KeyRing | null;

  constructor(ring: KeyRing | null) {
    this.#ring = ring;
  }

  get ring(): KeyRing | null {
    return this.#ring;
  }

  encode(value: unknown, place: Place): string {
    return this.sealText(encodeRecord(value), place);
  }

  /** The value's type is for the caller to name: a record that opens is one that we wrote. */
  decode(record: string, place: Place): unknown {
    return decodeRecord(this.openText(record, place), place.kind);
  }

  /** A plain text record as it is to be stored. */
  sealText(plain: string, place: Place): string {
    if (this.#ring === null) return plain;
    return sealedPrefix + this.#ring.seal(Buffer.from(plain), place).toString("base64url");
  }

  /** The plain form of a stored text record. */
  openText(record: string, place: Place): string {
    if (!record.startsWith(sealedPrefix)) return record;
    return this.open(bytesOf(record, place), place).toString();
  }

  /** Bytes as they are to be stored. */
  seal(plain: Buffer, place: Place): Buffer {
    return this.#ring === null ? plain : this.#ring.seal(plain, place);
  }

  /** The plain form of stored bytes; what is not sealed is for their own reader to check. */
  open(stored: Buffer, place: Place): Buffer {
    if (!isSealed(stored)) return stored;
    if (this.#ring !== null) return this.#ring.open(stored, place);
    throw new EyrieError("KEY_MISSING", { key: keyIdOf(stored) ?? "", what: place.kind });
  }

  /** A name for `text` that does not give it away where records are sealed. */
  nameOf(text: string, place: Place): string {
    return this.#ring === null ? text : this.#ring.nameOf(text, place);
  }

  /** Every name that `text` may have: in clear, and under each key of the ring. */
  namesOf(text: string, place: Place): string[] {
    const ring = this.#ring;
    return [text, ...(ring?.ids.map((id) => ring.nameOf(text, place, id)) ?? [])];
  }

  openAll(stored: readonly Buffer[], place: Place): Buffer[] {
    return stored.map((one) => this.open(one, place));
  }
}

/** For platforms without keys. */
export const plainRecords = new Records(null);

/** The key that a text record is sealed with; null for a plain one. */
export function keyIdOfText(record: string, place: Place): string | null {
  return record.startsWith(sealedPrefix) ? keyIdOf(bytesOf(record, place)) : null;
}

/** What `read` makes of each that can be read; of the others `refused` is told. */
export function readableOf<Stored, T>(
  stored: readonly Stored[],
  refused: (error: EyrieError) => void,
  read: (one: Stored) => T,
): T[] {
  return stored.flatMap((one) => {
    try {
      return [read(one)];
    } catch (error) {
      if (!(error instanceof EyrieError)) throw error;
      refused(error);
      return [];
    }
  });
}

/**
 * The records of a platform, by its configuration. Refused are: production without keys, keys that
 * cannot be read, and a ring that lacks a key which truth says is in use.
 */
export async function openRecords(config: KeyConfig, truth: Redis): Promise<Records> {
  const records = configuredRecords(config);
  const { ring } = records;
  const used = await truth.smembers(keysInUseKey);
  const missing = used.filter((id) => ring?.ids.includes(id) !== true);
  if (missing.length > 0) {
    throw new EyrieError("KEY_MISSING", { key: missing.sort().join(", "), what: "truth" });
  }
  // Before the first record is sealed with it.
  if (ring !== null) await truth.sadd(keysInUseKey, ring.primary);
  return records;
}

/**
 * The error, if it says that a record has rotted: RECORD_CORRUPT, or KEY_MISSING with a key that truth
 * does not know either, for then bits of the key's id have turned. Null for any other.
 */
export async function rotIn(error: unknown, truth: Redis): Promise<EyrieError | null> {
  if (!(error instanceof EyrieError)) return null;
  if (error.code === "RECORD_CORRUPT") return error;
  if (error.code !== "KEY_MISSING") return null;
  const { key = "", what = "" } = error.values;
  if ((await truth.sismember(keysInUseKey, key)) === 1) return null;
  return new EyrieError("RECORD_CORRUPT", { what, reason: "key id" }, { cause: error });
}

/** What is read, or null when it has rotted. */
export async function undamaged<T>(truth: Redis, read: () => T | Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if ((await rotIn(error, truth)) === null) throw error;
    return null;
  }
}

export type KeyConfig = Pick<Config, "EYRIE_KEYS" | "EYRIE_PROFILE">;

/** The same by the configuration alone, for who works on the keys themselves. */
export function configuredRecords({ EYRIE_KEYS, EYRIE_PROFILE }: KeyConfig): Records {
  if (EYRIE_KEYS !== undefined) return new Records(KeyRing.parse(EYRIE_KEYS));
  if (EYRIE_PROFILE === "production") throw new EyrieError("KEYS_REQUIRED");
  return plainRecords;
}

/** Base64 has more than one spelling for some bytes, and we write one. */
function bytesOf(record: string, place: Place): Buffer {
  const text = record.slice(sealedPrefix.length);
  const bytes = Buffer.from(text, "base64url");
  if (bytes.toString("base64url") !== text || !isSealed(bytes)) {
    throw new EyrieError("RECORD_CORRUPT", { what: place.kind, reason: "encoding" });
  }
  return bytes;
}
