/** Writes the configuration file of a server of ours: infra/deploy/redis.conf and where it lives. */
import { readFile, writeFile } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Address, RedisRole } from "./server.ts";

const common = fileURLToPath(new URL("../../deploy/redis.conf", import.meta.url));
const fsync = { truth: "always", state: "everysec" } as const;
/** Of the machine's memory; a model has to fit beside them. */
const memoryShare = { truth: 1 / 8, state: 1 / 4 } as const;

/** Returns the file's path. It may hold a password, so only we may read it. */
export async function writeSettings(
  role: RedisRole,
  directory: string,
  address: Address,
): Promise<string> {
  const lines = [
    await readFile(common, "utf8"),
    "# added for this server",
    `appendfsync ${fsync[role]}`,
    `maxmemory ${Math.floor(totalmem() * memoryShare[role])}`,
    `dir ${quoted(directory)}`,
    `pidfile ${quoted(join(directory, "redis.pid"))}`,
    "daemonize no",
    ...listenLines(address),
  ];
  const path = join(directory, "redis.conf");
  await writeFile(path, `${lines.join("\n")}\n`, { mode: 0o600 });
  return path;
}

function listenLines(address: Address): string[] {
  if (address.kind === "socket") {
    return ["port 0", `unixsocket ${quoted(address.path)}`, "unixsocketperm 700"];
  }
  return ["bind 127.0.0.1", `port ${address.port}`, `requirepass ${quoted(address.password)}`];
}

function quoted(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
