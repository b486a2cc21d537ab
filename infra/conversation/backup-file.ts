/**
 * The file of a backup, written and read frame by frame. Byte table: `kernels/state/format.md`.
 *
 * Promises: a file is there whole or not at all (it is written beside its name, synced, and renamed);
 * a reader tells a foreign, a newer, a cut and a damaged file from each other and from a good one,
 * whatever bit is wrong; with keys, nothing in it can be read without them, and frames cannot be
 * moved or swapped, within a file or between two. Memory: one frame.
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { existsSync, statfsSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { EyrieError } from "#infra/errors/error.ts";
import type { Place } from "#infra/redis/keyring.ts";
import type { Records } from "#infra/redis/records.ts";

export const backupVersion = 1;
const magic = Buffer.from("EYRIEBAK", "latin1");
const headBytes = 32;
const frameHeadBytes = 5;
const crcBytes = 4;
/** Above any state with its name; a longer frame is a damaged length. */
const frameBytesMax = 1024 ** 3;

export const frameTypes = { snapshot: 1, conversation: 2, end: 3 } as const;
export type FrameType = keyof typeof frameTypes;

export interface Frame {
  readonly type: FrameType;
  readonly body: Buffer;
}

/** What the last frame says of all before it. */
interface End {
  readonly frames: number;
  readonly sha256: string;
}

export class BackupWriter {
  readonly #path: string;
  readonly #partial: string;
  readonly #handle: FileHandle;
  readonly #records: Records;
  readonly #id = randomBytes(16);
  readonly #hash = createHash("sha256");
  #frames = 0;
  bytes = 0;

  private constructor(
    path: string,
    parts: { partial: string; handle: FileHandle; records: Records },
  ) {
    this.#path = path;
    this.#partial = parts.partial;
    this.#handle = parts.handle;
    this.#records = parts.records;
  }

  static async create(
    path: string,
    records: Records,
    options: { readonly replace: boolean },
  ): Promise<BackupWriter> {
    if (!options.replace && existsSync(path)) throw new EyrieError("BACKUP_EXISTS", { path });
    const partial = `${path}.${randomBytes(4).toString("hex")}.partial`;
    try {
      const handle = await open(partial, "wx", 0o600);
      const writer = new BackupWriter(path, { partial, handle, records });
      await writer.#write(writer.#head());
      return writer;
    } catch (error) {
      throw writeError(path, error, 0);
    }
  }

  async add(type: FrameType, body: Buffer): Promise<void> {
    const place = framePlace(this.#id, this.#frames, type);
    const sealed = this.#records.seal(body, place);
    const frame = Buffer.alloc(frameHeadBytes + sealed.length + crcBytes);
    frame.writeUInt32LE(sealed.length, 0);
    frame.writeUInt8(frameTypes[type], 4);
    sealed.copy(frame, frameHeadBytes);
    frame.writeUInt32LE(crc32(frame.subarray(0, -crcBytes)), frame.length - crcBytes);
    await this.#write(frame);
    this.#frames++;
  }

  /** Puts the file in its place; returns its size. */
  async finish(): Promise<number> {
    const end: End = { frames: this.#frames, sha256: this.#hash.copy().digest("hex") };
    await this.add("end", Buffer.from(JSON.stringify(end)));
    try {
      await this.#handle.sync();
      await this.#handle.close();
      await rename(this.#partial, this.#path);
      const folder = await open(dirname(this.#path), "r");
      await folder.sync();
      await folder.close();
    } catch (error) {
      throw writeError(this.#path, error, this.bytes);
    }
    return this.bytes;
  }

  /** Leaves nothing behind; after `finish` it does nothing. */
  async discard(): Promise<void> {
    await this.#handle.close().catch(() => undefined);
    await rm(this.#partial, { force: true });
  }

  #head(): Buffer {
    const head = Buffer.alloc(headBytes);
    magic.copy(head, 0);
    head.writeUInt16LE(backupVersion, 8);
    head.writeUInt8(this.#records.ring === null ? 0 : 1, 10);
    this.#id.copy(head, 12);
    head.writeUInt32LE(crc32(head.subarray(0, 28)), 28);
    return head;
  }

  async #write(bytes: Buffer): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;) {
        at += (await this.#handle.write(bytes, at)).bytesWritten;
      }
    } catch (error) {
      throw writeError(this.#path, error, this.bytes + bytes.length);
    }
    this.#hash.update(bytes);
    this.bytes += bytes.length;
  }
}

/** Every frame but the last, in order; that one has been checked when the others are through. */
export async function* readBackup(
  path: string,
  records: Records,
  progress: (bytes: number) => void = () => {},
): AsyncGenerator<Frame> {
  const handle = await openToRead(path);
  try {
    const reader = new FrameReader(path, handle, records);
    await reader.head();
    for (;;) {
      const frame = await reader.next();
      progress(reader.bytes);
      if (frame === null) return;
      yield frame;
    }
  } finally {
    await handle.close();
  }
}

class FrameReader {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #records: Records;
  readonly #hash: Hash = createHash("sha256");
  #id: Buffer = Buffer.alloc(0);
  #sealed = false;
  #frames = 0;
  bytes = 0;

  constructor(path: string, handle: FileHandle, records: Records) {
    this.#path = path;
    this.#handle = handle;
    this.#records = records;
  }

  async head(): Promise<void> {
    const head = await this.#read(headBytes);
    if (!head.subarray(0, magic.length).equals(magic)) this.#refuse("it is no backup of Eyrie");
    const version = head.readUInt16LE(8);
    if (head.readUInt32LE(28) !== crc32(head.subarray(0, 28))) this.#refuse("its head is damaged");
    if (version > backupVersion) {
      throw new EyrieError("BACKUP_NEWER", { path: this.#path, version });
    }
    this.#sealed = head.readUInt8(10) === 1;
    this.#id = Buffer.from(head.subarray(12, 28));
    this.#hash.update(head);
  }

  /** Null after the last one, when everything was as it must be. */
  async next(): Promise<Frame | null> {
    const head = await this.#read(frameHeadBytes);
    const length = head.readUInt32LE(0);
    const number = this.#frames + 1;
    // No more is asked for than there is: a damaged length would ask for a gigabyte.
    const { size } = await this.#handle.stat();
    if (length > frameBytesMax) this.#refuse(`frame ${number} is damaged`);
    if (this.bytes + length + crcBytes > size) this.#refuse("it is cut off");
    const rest = await this.#read(length + crcBytes);
    const stored = rest.subarray(0, length);
    if (crc32(stored, crc32(head)) !== rest.readUInt32LE(length)) {
      this.#refuse(`frame ${number} is damaged`);
    }
    const type = (Object.keys(frameTypes) as FrameType[]).find(
      (one) => frameTypes[one] === head.readUInt8(4),
    );
    if (type === undefined) this.#refuse(`frame ${number} is of no known kind`);
    const body = this.#open(stored, type);
    if (type === "end") {
      await this.#end(body);
      return null;
    }
    this.#hash.update(head).update(rest);
    this.#frames++;
    return { type, body };
  }

  #open(stored: Buffer, type: FrameType): Buffer {
    if (!this.#sealed) return stored;
    try {
      const body = this.#records.open(stored, framePlace(this.#id, this.#frames, type));
      if (body !== stored) return body;
    } catch (error) {
      if (!(error instanceof EyrieError) || error.code !== "RECORD_CORRUPT") throw error;
    }
    return this.#refuse(`frame ${this.#frames + 1} does not open`);
  }

  async #end(body: Buffer): Promise<void> {
    const { frames, sha256 } = JSON.parse(body.toString()) as End;
    if (frames !== this.#frames || sha256 !== this.#hash.digest("hex")) {
      this.#refuse("frames are missing");
    }
    const { bytesRead } = await this.#handle.read(Buffer.alloc(1), 0, 1);
    if (bytesRead > 0) this.#refuse("something follows its end");
  }

  async #read(length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length;) {
      const bytesRead = await this.#readInto(bytes, at);
      if (bytesRead === 0)
        this.#refuse(this.bytes === 0 ? "it is no backup of Eyrie" : "it is cut off");
      at += bytesRead;
    }
    this.bytes += length;
    return bytes;
  }

  async #readInto(bytes: Buffer, at: number): Promise<number> {
    try {
      return (await this.#handle.read(bytes, at, bytes.length - at)).bytesRead;
    } catch (error) {
      throw unreadable(this.#path, error);
    }
  }

  #refuse(reason: string): never {
    throw new EyrieError("BACKUP_UNREADABLE", { path: this.#path, reason });
  }
}

/** Bound to its file and its place in it. */
function framePlace(id: Buffer, index: number, type: FrameType): Place {
  return { kind: "backup", key: `${id.toString("hex")} ${index} ${type}` };
}

async function openToRead(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): EyrieError {
  const reason = (error as NodeJS.ErrnoException).code ?? "?";
  return new EyrieError("BACKUP_UNREADABLE", { path, reason }, { cause: error });
}

function writeError(path: string, error: unknown, neededBytes: number): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined || error instanceof EyrieError) return error;
  if (code !== "ENOSPC" && code !== "EDQUOT") {
    return new EyrieError("FOLDER_UNWRITABLE", { path, reason: code }, { cause: error });
  }
  const folder = dirname(path);
  const { bavail, bsize } = statfsSync(folder);
  const [neededMb, freeMb] = [neededBytes, bavail * bsize].map((n) => Math.ceil(n / 1e6));
  return new EyrieError(
    "DISK_FULL",
    { path: folder, neededMb: neededMb ?? 0, freeMb: freeMb ?? 0 },
    { cause: error },
  );
}
