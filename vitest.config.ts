/**
 * `npm test` runs `*.test.ts`; with EYRIE_TEST_LONG (set by test/run.mjs --long) also the full
 * figures in test/long. Two workers, because the smallest machine we promise to fit has two cores.
 */
import { join } from "node:path";
import { defineConfig } from "vitest/config";

const long = process.env["EYRIE_TEST_LONG"] !== undefined;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts", ...(long ? ["test/long/**/*.long.ts"] : [])],
    pool: "forks",
    // As infra/setup/launch.mjs does, for tests that are started without it.
    env: {
      ORT_DISABLE_TELEMETRY: "1",
      NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules", ".cache", "eyrie"),
    },
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    // What comes at once on a quiet machine takes its time on a busy one.
    expect: { poll: { timeout: 10_000 } },
    passWithNoTests: false,
  },
});
