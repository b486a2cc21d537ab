/** What the reports of all benchmarks have in common. */
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, resolve } from "node:path";
import { EyrieError } from "#infra/errors/error.ts";

/** When, what and where. */
export interface Circumstances {
  readonly date: string;
  readonly commit: string | null;
  readonly machine: string;
}

export function circumstances(): Circumstances {
  const [date, machine] = [new Date().toISOString(), cpus()[0]?.model ?? "unknown"];
  return { date, commit: commitOf(), machine };
}

/** Of this checkout; null outside of one. */
function commitOf(): string | null {
  const options = { cwd: import.meta.dirname, encoding: "utf8", stdio: "pipe" } as const;
  try {
    return execFileSync("git", ["describe", "--always", "--dirty", "--abbrev=12"], options).trim();
  } catch {
    return null;
  }
}

/** Leaves no empty file behind: the run may be stopped before there is anything to write. */
export function refuseUnwritable(path: string): void {
  try {
    mkdirSync(dirname(resolve(path)), { recursive: true });
    const isNew = !existsSync(path);
    appendFileSync(path, "");
    if (isNew) rmSync(path);
  } catch (cause) {
    throw new EyrieError(
      "FOLDER_UNWRITABLE",
      { path, reason: (cause as Error).message },
      { cause },
    );
  }
}

/** Three digits. */
export function figure(value: number): string {
  return String(Number(value.toPrecision(3)));
}
