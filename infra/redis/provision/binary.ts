/** Looks for programs in the folders of a search path, and for a Redis that is new enough. */
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";
import { promisify } from "node:util";
import type { ProvisionLog } from "./server.ts";

const serverNames = ["redis-server", "valkey-server"] as const;
/** The first with `#!lua` at the head of scripts, which all of ours have. */
const majorMin = 7;
const versionMsMax = 5_000;

export async function findProgram(name: string, searchPath: string): Promise<string | undefined> {
  for (const folder of searchPath.split(delimiter).filter(isAbsolute)) {
    const path = join(folder, name);
    const runs = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return path;
  }
  return undefined;
}

/** The first server on the path that runs and is new enough; the others are named in the log. */
export async function findServer(
  searchPath: string,
  log: ProvisionLog,
): Promise<string | undefined> {
  for (const name of serverNames) {
    const path = await findProgram(name, searchPath);
    if (path === undefined) continue;
    const version = await serverVersion(path);
    if (version !== undefined && version.major >= majorMin) return path;
    log.warn(`${path} is ${version?.text ?? "not usable"}: Redis or Valkey ${majorMin} is needed`);
  }
  return undefined;
}

/** What `--version` says (`Redis server v=7.0.15 sha=…`), undefined if the program does not run. */
export async function serverVersion(
  path: string,
): Promise<{ major: number; text: string } | undefined> {
  try {
    const { stdout } = await promisify(execFile)(path, ["--version"], { timeout: versionMsMax });
    const text = /\bv=(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
    return text === undefined ? undefined : { major: Number.parseInt(text, 10), text };
  } catch {
    return undefined;
  }
}
