/**
 * `pull`: from a name to whole, verified files in one folder.
 *
 * Before the first byte it knows every file with size and digest and that the disk has room. Pulls
 * into the same folder wait for each other. A folder's `.pull.json` says what was pulled from where;
 * a file that is there and is not the one meant is never overwritten unless that note says that it is
 * ours. A whole repository brings its folder to one revision: what an earlier pull of it brought and
 * this one does not, goes when everything else is there. What went wrong for good is an `EyrieError`;
 * whatever was whole by then stays, and so does the beginning of the file that was on its way.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Clock } from "#infra/clock/clock.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { type Hub, type RemoteFile, Setback } from "./hub.ts";
import { knownModels } from "./known-models.ts";
import { discardPartial, isSameFile, partialBytes } from "./partial.ts";
import { withRetries } from "./retry.ts";
import {
  checkRevision,
  isFileName,
  isOfModel,
  parseWanted,
  selectFiles,
  type Wanted,
} from "./selection.ts";
import {
  asFolderError,
  type PulledFile,
  readPullNote,
  withModelLock,
  writePullNote,
} from "./store.ts";
import { transfer } from "./transfer.ts";

const lockPollMs = 200;
const silenceMsMax = 60_000;

/** Told as it happens; for people's eyes only. */
export interface PullWatcher {
  /** Another pull works in this folder. */
  waiting(): void;
  file(name: string, place: { index: number; count: number; bytes: number }): void;
  bytes(received: number): void;
  retry(reason: string, waitMs: number): void;
}

export interface PullOptions {
  readonly hub: Hub;
  /** Where models are kept; a folder of the model's name is made in it, unless `directory` is given. */
  readonly modelsDirectory: string;
  readonly directory?: string;
  readonly revision?: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly watcher: PullWatcher;
  readonly silenceMsMax?: number;
}

export interface Pulled {
  readonly name: string;
  readonly directory: string;
  /** What was asked for; the folder may hold more. */
  readonly files: readonly PulledFile[];
  /** Nothing had to be downloaded. */
  readonly unchanged: boolean;
}

export async function pull(text: string, options: PullOptions): Promise<Pulled> {
  const wanted = parseWanted(text);
  checkRevision(options.revision ?? "main");
  const directory = options.directory ?? join(options.modelsDirectory, wanted.name);
  const name = options.directory === undefined ? wanted.name : basename(directory);
  try {
    const { files, revision } = await resolve(wanted, options);
    const work = async () => {
      const unchanged = await pullAll(files, directory, { ...options, revision });
      if (wanted.kind === "repository") removeFormer(files, directory, { ...options, revision });
      return { name, directory, files: notedOf(files, directory), unchanged };
    };
    return await withModelLock(directory, work, waitingOnce(options));
  } catch (error) {
    throw asEyrieError(error, options.hub.endpoint, directory);
  }
}

/** What the line and the disk say, in words for people; the rest as it is. */
function asEyrieError(error: unknown, url: string, directory: string): unknown {
  if (error instanceof Setback) {
    return new EyrieError("HUB_UNREACHABLE", { url, reason: error.message }, { cause: error });
  }
  return asFolderError(error, directory);
}

function waitingOnce({ watcher, clock, signal }: PullOptions): () => Promise<void> {
  let told = false;
  return async () => {
    if (!told) watcher.waiting();
    told = true;
    await clock.sleep(lockPollMs, signal);
    signal.throwIfAborted();
  };
}

/** Which files at which revision. Files of a listed repository are taken at the commit listed. */
async function resolve(
  wanted: Wanted,
  options: PullOptions,
): Promise<{ files: readonly RemoteFile[]; revision: string }> {
  const revision = options.revision ?? "main";
  if (wanted.kind === "known") {
    if (options.revision !== undefined) {
      throw new EyrieError("USAGE", { reason: "--revision goes with owner/repo only" });
    }
    const files = knownModels.get(wanted.name);
    if (files !== undefined) return { files, revision };
    const names = [...knownModels.keys()].join(", ");
    throw new EyrieError("MODEL_UNKNOWN", { name: wanted.name, names });
  }
  const repository = await withRetries(
    () => options.hub.list(wanted.repo, revision, options.signal),
    {
      ...options,
      progress: () => 0,
      onRetry: (reason, waitMs) => options.watcher.retry(reason, waitMs),
    },
  );
  if (wanted.kind === "repository") {
    return { files: selectFiles(repository), revision: repository.commit };
  }
  const files = repository.files.filter(({ path }) => path === wanted.path);
  if (files.length === 0 || !isFileName(basename(wanted.path))) {
    throw new EyrieError("HUB_NOT_FOUND", { what: `${wanted.repo}/${wanted.path}` });
  }
  return { files, revision: repository.commit };
}

/** True when nothing was missing. */
async function pullAll(
  files: readonly RemoteFile[],
  directory: string,
  options: PullOptions & { readonly revision: string },
): Promise<boolean> {
  const { hub, revision, signal, watcher } = options;
  const missing: RemoteFile[] = [];
  for (const file of files) {
    if (!(await isHere(file, directory, { endpoint: hub.endpoint, revision, signal }))) {
      missing.push(file);
    }
  }
  requireRoom(missing, directory);
  mkdirSync(directory, { recursive: true });
  for (const [index, file] of missing.entries()) {
    const name = basename(file.path);
    watcher.file(name, { index: index + 1, count: missing.length, bytes: file.bytes });
    try {
      await transfer(hub, file, join(directory, name), {
        ...options,
        silenceMsMax: options.silenceMsMax ?? silenceMsMax,
        onBytes: (received) => watcher.bytes(received),
        onRetry: (reason, waitMs) => watcher.retry(reason, waitMs),
      });
    } catch (error) {
      if (readdirSync(directory).length === 0) rmdirSync(directory);
      throw isOutOfSpace(error) ? diskFull(file.bytes, directory) : error;
    }
    noteFile(file, directory, { endpoint: hub.endpoint, revision });
  }
  return missing.length === 0;
}

/** Whether a file is there already; what is there and is neither it nor ours stops the pull. */
async function isHere(
  file: RemoteFile,
  directory: string,
  options: { readonly endpoint: string; readonly revision: string; readonly signal: AbortSignal },
): Promise<boolean> {
  const path = join(directory, basename(file.path));
  if (!existsSync(path)) return false;
  const noted = readPullNote(directory)?.files.find(({ name }) => name === basename(path));
  const untouched = noted !== undefined && statSync(path).size === noted.bytes;
  if (untouched && noted.digest === file.digest.hex) return true;
  if (untouched) return false;
  // Perhaps brought here by hand, or the last pull died before it could note it.
  if (!(await isSameFile(path, file, options.signal))) {
    throw new EyrieError("PULL_FILE_EXISTS", { path });
  }
  noteFile(file, directory, options);
  return true;
}

function noteFile(
  file: RemoteFile,
  directory: string,
  from: { readonly endpoint: string; readonly revision: string },
): void {
  const name = basename(file.path);
  const others = readPullNote(directory)?.files.filter((other) => other.name !== name) ?? [];
  const { repo, path, bytes, digest } = file;
  const source = { endpoint: from.endpoint, repo, path, revision: from.revision };
  const entry = { name, bytes, digest: digest.hex, algorithm: digest.algorithm, source };
  writePullNote(directory, { format: 1, files: [...others, entry] });
}

function notedOf(files: readonly RemoteFile[], directory: string): readonly PulledFile[] {
  const names = new Set(files.map(({ path }) => basename(path)));
  return readPullNote(directory)?.files.filter(({ name }) => names.has(name)) ?? [];
}

/**
 * Removes what another revision of the same repository left here, whole or begun, so that nothing
 * takes its weights or its index for the present ones. A file that somebody changed stays.
 */
function removeFormer(
  files: readonly RemoteFile[],
  directory: string,
  options: PullOptions & { readonly revision: string },
): void {
  const { hub, revision } = options;
  const [repo, names] = [files[0]?.repo, new Set(files.map(({ path }) => basename(path)))];
  const noted = readPullNote(directory)?.files ?? [];
  const former = noted.filter(({ name, source }) => {
    const isFromThere = source.endpoint === hub.endpoint && source.repo === repo;
    // A file of another kind was asked for by its path, and so was one of this revision.
    const isOfWhole = isOfModel(source.path) && source.revision !== revision;
    return isFromThere && isOfWhole && !names.has(name);
  });
  for (const { name, bytes } of former) {
    const path = join(directory, name);
    if (statSync(path, { throwIfNoEntry: false })?.size === bytes) rmSync(path);
  }
  if (former.length > 0) {
    const kept = noted.filter((file) => !former.includes(file));
    writePullNote(directory, { format: 1, files: kept });
  }
  // A folder that --out names may be on its way to hold other models too.
  if (options.directory !== undefined) return;
  for (const entry of readdirSync(directory)) {
    const name = entry.endsWith(".partial") ? entry.slice(0, -".partial".length) : null;
    if (name !== null && !names.has(name)) discardPartial(join(directory, name));
  }
}

function requireRoom(files: readonly RemoteFile[], directory: string): void {
  const needed = files
    .map((file) => file.bytes - partialBytes(join(directory, basename(file.path))))
    .reduce((sum, bytes) => sum + Math.max(0, bytes), 0);
  if (needed > freeBytes(directory)) throw diskFull(needed, directory);
}

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(existsSync(directory) ? directory : dirname(directory));
  return bavail * bsize;
}

function diskFull(needed: number, directory: string): EyrieError {
  const [neededMb, freeMb] = [needed, freeBytes(directory)].map((n) => Math.ceil(n / 1e6));
  const path = dirname(directory);
  return new EyrieError("DISK_FULL", { path, neededMb: neededMb ?? 0, freeMb: freeMb ?? 0 });
}

function isOutOfSpace(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOSPC" || code === "EDQUOT";
}
