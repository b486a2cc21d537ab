/**
 * A file on its way: `NAME.partial` and, beside it, a few facts that tell whether what is there may
 * be continued.
 *
 * Owns both files until `finish`, which puts the whole file in place in one rename, after its size
 * and digest were checked and its bytes are on the disk. The hash is computed anew over what is
 * there at each start, so no note about it can be out of step with the bytes. Not for two writers:
 * the caller holds the lock of the directory. A process that was stopped for a while may have lost that
 * lock without knowing: every write looks whether the file is still ours and as long as we left it, and
 * puts its bytes where they belong, so that neither pull can spoil what the other one made.
 */
import { createHash, type Hash } from "node:crypto";
import {
  constants,
  createReadStream,
  fstatSync,
  readFileSync,
  rmSync,
  type Stats,
  statSync,
} from "node:fs";
import { type FileHandle, open, rename, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { z } from "zod";
import { EyrieError } from "#infra/errors/error.ts";
import type { Digest, RemoteFile } from "./hub.ts";

const noteSchema = z.object({
  digest: z.string(),
  bytes: z.number(),
  /** Of the origin that sent the first bytes; null when it named none that is strong. */
  validator: z.object({ etag: z.string(), origin: z.string() }).nullable(),
});

export type Validator = NonNullable<z.infer<typeof noteSchema>["validator"]>;

export class PartialFile {
  readonly #target: string;
  readonly #file: RemoteFile;
  readonly #handle: FileHandle;
  #hash: Hash;
  #received: number;
  #validator: Validator | null;

  private constructor(
    target: string,
    file: RemoteFile,
    start: { handle: FileHandle; hash: Hash; received: number; validator: Validator | null },
  ) {
    this.#target = target;
    this.#file = file;
    this.#handle = start.handle;
    this.#hash = start.hash;
    this.#received = start.received;
    this.#validator = start.validator;
  }

  /** Goes on with what an earlier pull left of the same file, else begins with nothing. */
  static async open(target: string, file: RemoteFile, signal: AbortSignal): Promise<PartialFile> {
    const path = partialPath(target);
    const note = readNote(target);
    const known = note !== null && note.digest === file.digest.hex && note.bytes === file.bytes;
    if (!known || partialBytes(target) > file.bytes) discardPartial(target);
    // Not for appending: then the system would ignore where we say that bytes go.
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT);
    try {
      const hash = startHash(file.digest, file.bytes);
      const received = await hashInto(hash, path, signal);
      const validator = known ? note.validator : null;
      return new PartialFile(target, file, { handle, hash, received, validator });
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get received(): number {
    return this.#received;
  }

  /** By which the server may tell whether its file is still the one we have the beginning of. */
  get validator(): Validator | null {
    return this.#received === 0 ? null : this.#validator;
  }

  /** Forgets what came and notes whose bytes come now. */
  async restart(validator: Validator | null): Promise<void> {
    this.#requireOurs();
    await this.#handle.truncate(0);
    this.#hash = startHash(this.#file.digest, this.#file.bytes);
    this.#received = 0;
    this.#validator = validator;
    const note = { digest: this.#file.digest.hex, bytes: this.#file.bytes, validator };
    await writeFile(notePath(this.#target), JSON.stringify(note));
  }

  async append(chunk: Uint8Array): Promise<void> {
    if (this.#received + chunk.length > this.#file.bytes) {
      throw this.refuse(`it is longer than ${this.#file.bytes} bytes`);
    }
    this.#requireOurs();
    for (let at = 0; at < chunk.length;) {
      const place = this.#received + at;
      at += (await this.#handle.write(chunk, at, chunk.length - at, place)).bytesWritten;
    }
    this.#hash.update(chunk);
    this.#received += chunk.length;
  }

  /** Checks the whole and puts it in place; a wrong one is thrown away and named. */
  async finish(): Promise<void> {
    this.#requireOurs();
    const { algorithm, hex } = this.#file.digest;
    const actual = this.#hash.digest("hex");
    if (actual !== hex) throw this.refuse(`its ${algorithm} is ${actual}, not ${hex}`);
    await this.#handle.sync();
    await rename(partialPath(this.#target), this.#target);
    rmSync(notePath(this.#target), { force: true });
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Throws away what came; returns the error that says why. */
  refuse(reason: string): EyrieError {
    this.discard();
    return new EyrieError("PULL_CORRUPT", { file: basename(this.#target), reason });
  }

  /** Throws away what came, unless another pull has taken over: then it is theirs. */
  discard(): void {
    if (this.#isInPlace(fstatSync(this.#handle.fd))) discardPartial(this.#target);
  }

  #requireOurs(): void {
    const ours = fstatSync(this.#handle.fd);
    if (ours.size === this.#received && this.#isInPlace(ours)) return;
    throw new EyrieError("MODEL_BUSY", { name: basename(dirname(this.#target)) });
  }

  #isInPlace(ours: Stats): boolean {
    const there = statSync(partialPath(this.#target), { throwIfNoEntry: false });
    return there !== undefined && there.ino === ours.ino && there.dev === ours.dev;
  }
}

/** Bytes that an earlier pull left of a file. */
export function partialBytes(target: string): number {
  return statSync(partialPath(target), { throwIfNoEntry: false })?.size ?? 0;
}

export function discardPartial(target: string): void {
  rmSync(partialPath(target), { force: true });
  rmSync(notePath(target), { force: true });
}

/** Whether the file at `path` is the one that is meant. */
export async function isSameFile(
  path: string,
  file: RemoteFile,
  signal: AbortSignal,
): Promise<boolean> {
  if (statSync(path).size !== file.bytes) return false;
  const hash = startHash(file.digest, file.bytes);
  await hashInto(hash, path, signal);
  return hash.digest("hex") === file.digest.hex;
}

function partialPath(target: string): string {
  return `${target}.partial`;
}

function notePath(target: string): string {
  return `${target}.partial.json`;
}

function readNote(target: string): z.infer<typeof noteSchema> | null {
  try {
    return noteSchema.parse(JSON.parse(readFileSync(notePath(target), "utf8")));
  } catch {
    return null;
  }
}

function startHash(digest: Digest, bytes: number): Hash {
  return digest.algorithm === "sha256"
    ? createHash("sha256")
    : createHash("sha1").update(`blob ${bytes}\0`);
}

async function hashInto(hash: Hash, path: string, signal: AbortSignal): Promise<number> {
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return bytes;
}
