import { describe, expect, test } from "vitest";
import { violation } from "./imports.ts";
import { contentOf, isTypeScript, syntaxOf, trackedFiles } from "./tree.ts";

describe("import directions", () => {
  test("hold in every tracked file", () => {
    const found = trackedFiles()
      .filter(isTypeScript)
      .flatMap((path) =>
        syntaxOf(path, contentOf(path)).imports.flatMap((one) => {
          const reason = violation(path, one);
          return reason === undefined ? [] : [`${path} imports ${one.target}: ${reason}`];
        }),
      );
    expect(found).toEqual([]);
  });

  test.each([
    ["infra/turn/turn.ts", 'import { z } from "#infra/errors/error.ts";', "nothing of ours"],
    ["infra/mailbox/a.ts", 'import "../ledger/b.ts";', "do not import each other"],
    ["infra/mailbox/a.ts", 'import type { A } from "#apps/cli/b.ts";', "infra knows no apps"],
    ["infra/mailbox/a.ts", 'export * from "#kernels/model/config.ts";', "infra knows no kernels"],
    ["kernels/ops/gemm/a.ts", 'import { Redis } from "ioredis";', "numbers only"],
    ["kernels/ops/gemm/a.ts", 'import "../../backends/contract.ts";', "downwards only"],
    ["kernels/model/a.ts", 'const a = await import("#infra/turn/turn.ts");', "only kernels"],
    ["kernels/backends/a.ts", 'import { Worker } from "node:worker_threads";', "makes threads"],
    ["apps/gateway/a.ts", 'type A = import("#apps/worker/b.ts").A;', "never import each other"],
    ["apps/gateway/a.ts", 'import "#kernels/model/config.ts";', "only worker and cli"],
    ["apps/dashboard/web/a.tsx", 'import { a } from "../api/b.ts";', "types only"],
    ["apps/worker/scheduler/a.ts", 'import { now } from "#infra/clock/clock.ts";', "is pure"],
    ["apps/cli/a.ts", 'import { a } from "#test/doubles/a.ts";', "only tests"],
  ])("%s: %s is refused", (path, text, reason) => {
    const { imports } = syntaxOf(path, text);
    expect(imports).toHaveLength(1);
    expect(violation(path, imports[0]!)).toContain(reason);
  });

  test.each([
    ["infra/mailbox/a.ts", 'import { EyrieError } from "#infra/errors/error.ts";'],
    ["kernels/backends/a.ts", 'import { wkv } from "../ops/wkv5/reference.ts";'],
    ["kernels/ops/gemm/a.ts", 'import type { A } from "../../backends/contract.ts";'],
    ["apps/worker/a.ts", 'import "#kernels/model/config.ts";'],
    ["apps/worker/engine/a.ts", 'import { Worker } from "node:worker_threads";'],
    ["apps/dashboard/web/a.tsx", 'import { type A } from "../api/b.ts";'],
    ["apps/worker/scheduler/a.ts", 'import type { Plan } from "#kernels/backends/contract.ts";'],
    ["test/kernels/a.test.ts", 'import "#apps/cli/main.ts";'],
  ])("%s: %s is allowed", (path, text) => {
    const { imports } = syntaxOf(path, text);
    expect(imports).toHaveLength(1);
    expect(violation(path, imports[0]!)).toBeUndefined();
  });
});
