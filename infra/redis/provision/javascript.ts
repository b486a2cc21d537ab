/**
 * A program of its own: js-redis-server at one address, JSON in the first argument.
 *
 * It needs its own process because it would hold up any other work, and is assembled from the
 * package's parts because the ready-made server listens on every network interface. It keeps
 * everything in memory and is for trying Eyrie out only.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { RedisServerState, Resp2Server, createRedisCommandExecutor } from "js-redis-server/core";
import type { Address } from "./server.ts";

const argument = process.argv[2];
assert(argument !== undefined, "an address is needed");
const address = JSON.parse(argument) as Address;

const state = new RedisServerState({
  databaseCount: 16,
  ...(address.kind === "port" ? { requirepass: address.password } : {}),
});
const server = new Resp2Server({
  server: state,
  executor: createRedisCommandExecutor(),
  logger: { error: (error) => console.error(error) },
});

process.umask(0o077);
if (address.kind === "socket") {
  rmSync(address.path, { force: true });
  server.server.listen(address.path);
} else {
  server.server.listen(address.port, "127.0.0.1");
}
