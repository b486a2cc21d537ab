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

// Redis 7 takes a first line `#!lua`, this server's Lua does not. It becomes a comment just before
// it runs, so that line numbers and the hash that EVALSHA names stay those of the original.
const runtime = await state.getLuaRuntime();
const run = runtime.eval.bind(runtime);
runtime.eval = (script, ...rest) => run(withoutShebang(script), ...rest);

function withoutShebang(script: Buffer): Buffer {
  if (!script.subarray(0, 2).equals(Buffer.from("#!"))) return script;
  return Buffer.concat([Buffer.from("--"), script.subarray(2)]);
}

process.umask(0o077);
if (address.kind === "socket") {
  rmSync(address.path, { force: true });
  server.server.listen(address.path);
} else {
  server.server.listen(address.port, "127.0.0.1");
}
