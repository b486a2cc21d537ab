/** Starts `eyrie start` in a folder of its own, as a newcomer does, and waits until it is ready. */
import { type ChildProcess, spawn } from "node:child_process";
import { resolve } from "node:path";

export const root = resolve(import.meta.dirname, "../..");

/** The environment of a platform that meets no other: its own folder, free ports, Redis of its own. */
export function environmentOf(home: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    EYRIE_HOME: home,
    EYRIE_WORKER_PORT: "0",
    EYRIE_GATEWAY_PORT: "0",
    REDIS_URL: "",
    STATE_REDIS_URL: "",
    DISCORD_TOKEN: "",
  };
}

/** Its own process group, as a terminal would start it; throws with what it said if it ends first. */
export async function startEyrie(env: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const options = { cwd: root, env, detached: true };
  const child = spawn(process.execPath, ["eyrie.mjs", "start"], options);
  let output = "";
  await new Promise<void>((ready, reject) => {
    child.once("exit", (code) => reject(new Error(`exit ${code}: ${output}`)));
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        if (output.includes("Eyrie is running")) ready();
      });
    }
  });
  return child;
}

/** Signals the whole group, as Ctrl-C does; returns the exit code. */
export async function stopEyrie(
  child: ChildProcess,
  signal: NodeJS.Signals,
): Promise<number | null> {
  if (child.pid === undefined || child.exitCode !== null) return child.exitCode;
  const gone = new Promise<number | null>((done) => child.once("exit", done));
  process.kill(-child.pid, signal);
  return gone;
}
