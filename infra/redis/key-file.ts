/** The file of the operator's keys: one in each line, the first one encrypts. */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { EyrieError } from "#infra/errors/error.ts";
import { KeyRing, newKey } from "./keyring.ts";

/**
 * Puts a new key in front of those in the file, which is made if there is none, for its owner only.
 * Whole or not at all; returns the ring as it is then.
 */
export function addKeyToFile(path: string): KeyRing {
  const before = existing(path);
  if (before.trim() !== "") KeyRing.parse(path);
  const made = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    const file = openSync(made, "wx", 0o600);
    try {
      writeSync(file, `${newKey()}\n${before}`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(made, path);
  } catch (error) {
    rmSync(made, { force: true });
    throw unwritable(path, error);
  }
  return KeyRing.parse(path);
}

function existing(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw unwritable(path, error);
  }
}

function unwritable(path: string, error: unknown): unknown {
  const reason = (error as NodeJS.ErrnoException).code;
  if (reason === undefined) return error;
  return new EyrieError("FOLDER_UNWRITABLE", { path, reason }, { cause: error });
}
