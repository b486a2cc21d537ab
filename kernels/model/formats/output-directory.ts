/**
 * A directory that is either there whole or not there at all.
 *
 * Work goes into `.NAME.converting-PID` beside it and takes its place with one rename. What an
 * interrupted run left behind is removed by the next run to the same place: nobody can open it as a
 * model before `model.json` is there, and that never names a file which is not complete. A place that
 * no rename can take, such as a mount point, is refused before the work.
 */
import { mkdir, open, readdir, realpath, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { ModelError, systemErrorCode } from "#kernels/errors.ts";

export interface OutputOptions {
  readonly force: boolean;
  /** What the directory is made from; it must not go with what is replaced. */
  readonly input: string;
}

export class OutputDirectory {
  readonly path: string;
  /** Where to write until `commit`. */
  readonly staging: string;
  readonly #parent: string;
  readonly #replaced: string;
  readonly #options: OutputOptions;

  /** Refuses a place that is taken; with `force` only one that is no model directory. */
  static async prepare(directory: string, options: OutputOptions): Promise<OutputDirectory> {
    const output = new OutputDirectory(resolve(directory), options);
    try {
      await mkdir(output.#parent, { recursive: true });
      // Before the place is looked at: a model may come back to it.
      await output.#removeLeftovers();
    } catch (error) {
      throw output.#unwritable(error);
    }
    const old = await output.#refuseTaken();
    if (old !== "none") await output.#tryToMove();
    return output;
  }

  private constructor(path: string, options: OutputOptions) {
    const name = basename(path);
    this.path = path;
    this.#options = options;
    this.#parent = dirname(path);
    this.staging = join(this.#parent, `.${name}.converting-${process.pid}`);
    this.#replaced = join(this.#parent, `.${name}.replaced-${process.pid}`);
  }

  get parent(): string {
    return this.#parent;
  }

  /** Runs `write` on the empty staging directory and puts the result in place; else leaves nothing. */
  async fill(write: (staging: string) => Promise<void>): Promise<void> {
    try {
      await mkdir(this.staging);
    } catch (error) {
      throw this.#unwritable(error);
    }
    try {
      await write(this.staging);
      await syncDirectory(this.staging);
      await this.#commit();
    } catch (error) {
      await rm(this.staging, { recursive: true, force: true });
      throw error;
    }
  }

  async #commit(): Promise<void> {
    // Again: somebody may have put a model there while we worked.
    const old = await this.#refuseTaken();
    if (old === "empty") await rmdir(this.path);
    if (old === "model") await rename(this.path, this.#replaced);
    await rename(this.staging, this.path);
    await syncDirectory(this.#parent);
    if (old === "model") await rm(this.#replaced, { recursive: true });
  }

  /** What is there now, if we may replace it. */
  async #refuseTaken(): Promise<Kind> {
    const { force, input: source } = this.#options;
    const kind = await kindOf(this.path);
    const refuse = (reason: string): ModelError =>
      new ModelError("MODEL_EXISTS", { path: this.path, reason });
    if (kind === "none" || kind === "empty") return kind;
    if (kind === "other")
      throw refuse("it is not a model directory, so --force does not replace it");
    if (!force) throw refuse("add --force to replace it");
    const [input, output] = await Promise.all([source, this.path].map((one) => realpath(one)));
    if (input === output || input!.startsWith(`${output}${sep}`)) {
      throw refuse("what is to be converted lies in it");
    }
    return kind;
  }

  /** What is there goes aside and comes back: only so is it known that it can be replaced at the end. */
  async #tryToMove(): Promise<void> {
    try {
      await rename(this.path, this.#replaced);
    } catch (error) {
      throw this.#unwritable(error, `; choose a folder inside ${this.path}`);
    }
    await rename(this.#replaced, this.path);
  }

  /** Of processes that are gone. A model whose replacement died halfway goes back to its place. */
  async #removeLeftovers(): Promise<void> {
    const name = basename(this.path);
    for (const entry of await readdir(this.#parent)) {
      const rest = entry.startsWith(`.${name}.`) ? entry.slice(name.length + 2) : "";
      const [, what, pid] = /^(converting|replaced)-(\d+)$/.exec(rest) ?? [];
      if (what === undefined || isAlive(Number(pid))) continue;
      const leftover = join(this.#parent, entry);
      if (what === "replaced" && (await kindOf(this.path)) === "none") {
        await rename(leftover, this.path);
      } else {
        await rm(leftover, { recursive: true, force: true });
      }
    }
  }

  /** It is the parent that everything is made and renamed in. */
  #unwritable(error: unknown, advice = ""): unknown {
    // Who knows how much room is needed has words for it.
    if (["ENOSPC", "EDQUOT"].includes(systemErrorCode(error) ?? "")) return error;
    const reason = `${(error as Error).message}${advice}`;
    return new ModelError("FOLDER_UNWRITABLE", { path: this.#parent, reason }, { cause: error });
  }
}

type Kind = "none" | "empty" | "model" | "other";

async function kindOf(path: string): Promise<Kind> {
  try {
    const names = await readdir(path);
    if (names.length === 0) return "empty";
    return names.includes("model.json") ? "model" : "other";
  } catch {
    return (await stat(path).catch(() => null)) === null ? "none" : "other";
  }
}

function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemErrorCode(error) === "EPERM";
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
