/** The simulation and its Redis in full: 2,000 seeds of 200 turns, 10,000 sequences for each script. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { RedisServer } from "#test/redis/server.ts";
import { scriptNames } from "#test/sim/redis/calls.ts";
import { compare } from "#test/sim/redis/differential.ts";
import { Lua } from "#test/sim/redis/lua.ts";

const root = join(import.meta.dirname, "..", "..");

test("2,000 seeds of 200 turns", { timeout: 3 * 3600_000 }, ({ task }) => {
  const args = ["--seeds", "2000", "--turns", "200", "--seed", "100001", "--json"];
  const run = spawnSync("node", [join(root, "test", "sim", "main.ts"), ...args], {
    cwd: root,
    encoding: "utf8",
  });
  expect(run.status, run.stderr).toBe(0);
  const figures = JSON.parse(run.stdout.trim().split("\n").at(-1) ?? "") as Record<string, number>;
  expect(figures).toMatchObject({ seeds: 2000, lost: 0, duplicated: 0, reordered: 0, crossed: 0 });
  Object.assign(task.meta, { figures });
});

test("10,000 sequences of each script", { timeout: 2 * 3600_000 }, async ({ task }) => {
  const server = await RedisServer.start();
  const real = await server.client();
  try {
    await real.config("SET", "appendonly", "no");
    const lua = await Lua.open();
    const figures: Record<string, unknown> = {};
    for (const script of scriptNames) {
      figures[script] = await compare(real, lua, { script, sequences: 10_000, seed: 2 });
    }
    Object.assign(task.meta, { figures });
  } finally {
    real.disconnect();
    await server.stop();
  }
});
