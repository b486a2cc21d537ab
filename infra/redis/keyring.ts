/**
 * The operator's keys, and sealing with them: AES-256-GCM.
 *
 * The first key of the ring encrypts, every key of it decrypts, so a new key is put in front and the
 * old one stays behind until `eyrie keys rotate` has sealed everything anew. A key is written
 * `eyrie1.<id>.<256 bits, base64url>`; the id is derived from the bits, so a mistyped key is noticed
 * and two keys never share a name. Layout of a sealed record: `infra/README.md`.
 *
 * Every place has a key of its own, derived from the operator's (HMAC-SHA-256 of the Redis key's
 * name), and the place is authenticated with the record: what is moved elsewhere does not open. Random
 * 96-bit nonces are safe for 2^32 records under one key; under one derived key there never are as many.
 *
 * Promises: what `open` returns is what was sealed at this very place; anything else is refused as
 * RECORD_CORRUPT, and a key that the ring does not hold as KEY_MISSING. Key material is in no message.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from "node:crypto";
import { readFileSync } from "node:fs";
import { EyrieError } from "#infra/errors/error.ts";

/** What a record is, as its errors name it. */
export type RecordKind =
  | "mailbox"
  | "reply record"
  | "partial reply"
  | "token block"
  | "past turn"
  | "first turn"
  | "snapshot"
  | "open reply"
  | "pending fork"
  | "live frame"
  | "backup";

/** Where a record lies: a record is only ever opened where it was sealed. */
export interface Place {
  readonly kind: RecordKind;
  /** Name of the Redis key, and for one of a hash's records its field. */
  readonly key: string;
}

/** First byte of a sealed record; no plain one begins with it. */
const mark = 0xea;
const keyIdBytes = 4;
const nonceBytes = 12;
const tagBytes = 16;
const headBytes = 1 + keyIdBytes + nonceBytes;
const keyBytes = 32;
/** 64 bits: enough for the people of one conversation. */
const nameCharacters = 16;
/** More keys than anybody rotates through; a longer list is a wrong file. */
const keysMax = 64;
const keyPattern = /^eyrie1\.([0-9a-f]{8})\.([A-Za-z0-9_-]{43})$/;
const cipher = "aes-256-gcm";

export class KeyRing {
  /** In the order of the ring: the first one encrypts. */
  readonly #keys: ReadonlyMap<string, KeyObject>;
  readonly primary: string;

  private constructor(keys: ReadonlyMap<string, KeyObject>, primary: string) {
    this.#keys = keys;
    this.primary = primary;
  }

  /** Keys with commas or blanks between them, or the absolute path of a file that holds them. */
  static parse(setting: string): KeyRing {
    const text = setting.startsWith("/") ? readKeyFile(setting) : setting;
    const keys = new Map<string, KeyObject>();
    const entries = text
      .replaceAll(/#.*$/gm, "")
      .split(/[\s,]+/)
      .filter((entry) => entry !== "");
    if (entries.length > keysMax) refuse(`more than ${keysMax} keys`);
    for (const [index, entry] of entries.entries()) {
      const [id, key] = parseKey(entry, index + 1);
      if (keys.has(id)) refuse(`key ${id} is there twice`);
      keys.set(id, key);
    }
    const [primary] = keys.keys();
    if (primary === undefined) refuse("there is no key in it");
    return new KeyRing(keys, primary);
  }

  get ids(): readonly string[] {
    return [...this.#keys.keys()];
  }

  seal(plain: Uint8Array, place: Place): Buffer {
    const nonce = randomBytes(nonceBytes);
    const sealing = createCipheriv(cipher, this.#placeKey(this.primary, place), nonce);
    sealing.setAAD(authenticated(place));
    const head = Buffer.concat([Buffer.of(mark), Buffer.from(this.primary, "hex"), nonce]);
    return Buffer.concat([head, sealing.update(plain), sealing.final(), sealing.getAuthTag()]);
  }

  open(sealed: Buffer, place: Place): Buffer {
    const what = place.kind;
    const end = sealed.length - tagBytes;
    if (sealed[0] !== mark || end < headBytes) {
      throw new EyrieError("RECORD_CORRUPT", { what, reason: "truncated" });
    }
    const nonce = sealed.subarray(1 + keyIdBytes, headBytes);
    const key = this.#placeKey(keyIdOf(sealed) ?? "", place);
    const opening = createDecipheriv(cipher, key, nonce, { authTagLength: tagBytes });
    opening.setAAD(authenticated(place));
    opening.setAuthTag(sealed.subarray(end));
    const plain = opening.update(sealed.subarray(headBytes, end));
    try {
      return Buffer.concat([plain, opening.final()]);
    } catch {
      throw new EyrieError("RECORD_CORRUPT", { what, reason: "authentication" });
    }
  }

  /** A name for `text` at this place that tells nobody without the key `id` what it is. */
  nameOf(text: string, place: Place, id: string = this.primary): string {
    const name = createHmac("sha256", this.#placeKey(id, place)).update(`name\n${text}`);
    return name.digest("hex").slice(0, nameCharacters);
  }

  #placeKey(id: string, place: Place): Buffer {
    const key = this.#keys.get(id);
    if (key === undefined) throw new EyrieError("KEY_MISSING", { key: id, what: place.kind });
    return createHmac("sha256", key).update(place.key).digest();
  }
}

export function isSealed(record: Uint8Array): boolean {
  return record[0] === mark;
}

/** Whether it looks like a {@link KeyRing.nameOf}, and not like what it is the name of. */
export function isSealedName(name: string): boolean {
  return name.length === nameCharacters && /^[0-9a-f]+$/.test(name);
}

/** The key that a record is sealed with; null for a plain one. */
export function keyIdOf(record: Buffer): string | null {
  return isSealed(record) ? record.toString("hex", 1, 1 + keyIdBytes) : null;
}

/** A new key in its written form: a secret. */
export function newKey(): string {
  const bits = randomBytes(keyBytes);
  return `eyrie1.${idOf(bits)}.${bits.toString("base64url")}`;
}

function authenticated({ key, kind }: Place): Buffer {
  return Buffer.from(`${kind}\n${key}`);
}

function parseKey(entry: string, number: number): [id: string, key: KeyObject] {
  const [, id = "", text = ""] = keyPattern.exec(entry) ?? refuse(`entry ${number} is not a key`);
  const bits = Buffer.from(text, "base64url");
  if (idOf(bits) !== id || bits.toString("base64url") !== text) {
    refuse(`entry ${number} is a mistyped key`);
  }
  return [id, createSecretKey(bits)];
}

function idOf(bits: Buffer): string {
  return createHash("sha256").update("eyrie key id\n").update(bits).digest("hex").slice(0, 8);
}

function readKeyFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return refuse(`${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? "?"})`);
  }
}

function refuse(reason: string): never {
  throw new EyrieError("KEYS_INVALID", { reason });
}
