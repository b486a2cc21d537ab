/** Runs a program and waits for it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";

export interface RunOptions {
  readonly cwd: string;
  /** Pass its output through as it comes, instead of collecting it. */
  readonly show?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

/** The exit code (128 when it ended by a signal or never began) and what it wrote. */
export function run(
  command: readonly string[],
  { cwd, show = false, env = {} }: RunOptions,
): Promise<{ code: number; output: string }> {
  const [program, ...args] = command;
  assert(program !== undefined);
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", show ? "inherit" : "pipe", show ? "inherit" : "pipe"],
    });
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const stop = () => void child.kill("SIGTERM");
    process.once("SIGTERM", stop);
    child.once("error", (error) => resolve({ code: 128, output: error.message }));
    child.once("close", (code) => {
      process.off("SIGTERM", stop);
      resolve({ code: code ?? 128, output });
    });
  });
}
