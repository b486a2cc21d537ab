/**
 * Sees to a real redis-server for the tests: one on PATH, else (as root) Debian's through apt-get,
 * else Debian's unpacked into .eyrie. Without any, the tests that need one fail and say so.
 */
import { delimiter, dirname, join } from "node:path";
import { findProgram, findServer } from "#infra/redis/provision/binary.ts";
import { unpackDebianServer } from "#infra/redis/provision/debian.ts";
import type { ProvisionLog } from "#infra/redis/provision/server.ts";
import { run } from "./command.ts";

const log: ProvisionLog = {
  info: (message) => console.log(message),
  warn: (message) => console.log(message),
  error: (message) => console.log(message),
};

/** The PATH to test with. */
export async function redisOnPath(root: string): Promise<string> {
  const path = process.env["PATH"] ?? "";
  if ((await findServer(path, log)) !== undefined) return path;
  if (await installedAsRoot(root, path)) return path;
  const server = await unpackDebianServer(join(root, ".eyrie", "redis-debian"), {
    searchPath: path,
    log,
  });
  return server === undefined ? path : [path, dirname(server)].join(delimiter);
}

async function installedAsRoot(root: string, path: string): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  if ((await findProgram("apt-get", path)) === undefined) return false;
  console.log("Installing redis-server (apt-get)…");
  const options = { cwd: root, env: { DEBIAN_FRONTEND: "noninteractive" } };
  await run(["apt-get", "update", "-qq"], options);
  const install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "redis-server"];
  const { code, output } = await run(install, options);
  if (code !== 0) console.log(output.trimEnd().split("\n").slice(-3).join("\n"));
  return (await findServer(path, log)) !== undefined;
}
