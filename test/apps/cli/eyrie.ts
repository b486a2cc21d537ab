/** Runs `eyrie …` as a person does, with nothing of this machine's environment but the PATH. */
import { spawn } from "node:child_process";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../../..");

export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly environment?: NodeJS.ProcessEnv;
  readonly input?: string;
  readonly cwd?: string;
}

export function eyrie(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { environment = {}, input = "", cwd = root } = options;
  const child = spawn(process.execPath, [join(root, "eyrie.mjs"), ...args], {
    cwd,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...environment },
  });
  const outcome = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => {
    outcome.out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    outcome.err += chunk.toString();
  });
  child.stdin.end(input);
  return new Promise((done) => {
    child.once("close", (code) => done({ code, ...outcome }));
  });
}

/** Lines that begin with a code: there must be one, and no stack trace beside it. */
export function errorLines(outcome: Outcome): string[] {
  const lines = outcome.err.split("\n");
  const stack = lines.filter((line) => /^\s+at |Error: /.test(line));
  return [...lines.filter((line) => /^[A-Z_]{4,}: /.test(line)), ...stack];
}
