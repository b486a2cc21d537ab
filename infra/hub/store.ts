/**
 * The folder of pulled models: what is in it, where it came from, and how it goes.
 *
 * One folder per model under `EYRIE_HOME/models`. Removing moves the folder out of sight first, so
 * that a removal that is cut short leaves nothing that looks like a model; the next one finishes it.
 */
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { EyrieError } from "#infra/errors/error.ts";
import { withLock } from "#infra/setup/lock.mjs";
import { isModelName } from "./selection.ts";

const fileSchema = z.object({
  name: z.string(),
  bytes: z.number(),
  digest: z.string(),
  algorithm: z.enum(["sha256", "git-sha1"]),
  source: z.object({
    endpoint: z.string(),
    repo: z.string(),
    path: z.string(),
    revision: z.string(),
  }),
});
const noteSchema = z.object({ format: z.literal(1), files: z.array(fileSchema) });

export type PulledFile = z.infer<typeof fileSchema>;
export type PullNote = z.infer<typeof noteSchema>;

export function modelsDirectory(home: string): string {
  return join(home, "models");
}

/** What pulls brought into a folder; null when none did. A damaged note counts as none. */
export function readPullNote(directory: string): PullNote | null {
  try {
    return noteSchema.parse(JSON.parse(readFileSync(notePath(directory), "utf8")));
  } catch {
    return null;
  }
}

export function writePullNote(directory: string, note: PullNote): void {
  const path = notePath(directory);
  writeFileSync(`${path}.new`, `${JSON.stringify(note, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

/** Names of the folders here; hidden ones are locks and what is being removed. */
export function modelNames(directory: string): readonly string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
    .map(({ name }) => name)
    .filter(isModelName)
    .sort();
}

/** Folders here that a removal or a conversion left when it was killed. */
export function leftovers(directory: string): readonly string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => {
      const pid = /^\.(?:removed-.+|.+\.converting)-(\d+)$/.exec(name)?.[1];
      return pid !== undefined && !isAlive(Number(pid));
    })
    .sort();
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/**
 * Runs `work` while no other process changes the folder. `onBusy` is called each time somebody else
 * holds it, and may wait, or throw to give up.
 */
export async function withModelLock<T>(
  directory: string,
  work: () => Promise<T>,
  onBusy: () => Promise<void>,
): Promise<T> {
  const path = lockPath(directory);
  const busy = new Error("the lock is held");
  for (;;) {
    try {
      return await withLock(path, work, {
        onWait: () => {
          throw busy;
        },
      });
    } catch (error) {
      if (error !== busy) throw error;
      await onBusy();
    }
  }
}

/**
 * Beside the folder, so that it outlives the folder's removal; in it where nothing can be made beside
 * it, as with a volume that is mounted into a system nobody may write to.
 */
function lockPath(directory: string): string {
  const parent = dirname(directory);
  return existsSync(directory) && !isWritable(parent)
    ? join(directory, ".pull.lock")
    : join(parent, `.${basename(directory)}.lock`);
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Removes the folder of that exact name; the files behind a symbolic link stay. */
export async function removeModel(directory: string, name: string): Promise<void> {
  const names = modelNames(directory);
  if (!names.includes(name)) {
    throw new EyrieError("MODEL_UNKNOWN", { name, names: names.join(", ") || "—" });
  }
  const path = join(directory, name);
  const remove = async (): Promise<void> => {
    const aside = join(directory, `.removed-${name}-${process.pid}`);
    renameSync(path, aside);
    const removals = leftovers(directory).filter((entry) => entry.startsWith(".removed-"));
    for (const entry of [basename(aside), ...removals]) {
      rmSync(join(directory, entry), { recursive: true, force: true });
    }
  };
  const refuse = (): never => {
    throw new EyrieError("MODEL_BUSY", { name });
  };
  try {
    await withModelLock(path, remove, refuse);
  } catch (error) {
    throw asFolderError(error, path);
  }
}

/** A refusal of the operating system, named; anything else as it is. */
export function asFolderError(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !("syscall" in error) || !("code" in error)) return error;
  const reason = String(error.code);
  if (reason === "ENOSPC" || reason === "EDQUOT") {
    // Only small files are written without asking for their room first.
    return new EyrieError("DISK_FULL", { path, neededMb: 1, freeMb: 0 }, { cause: error });
  }
  return new EyrieError("FOLDER_UNWRITABLE", { path, reason }, { cause: error });
}

function notePath(directory: string): string {
  return join(directory, ".pull.json");
}
