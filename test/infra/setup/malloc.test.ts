/** Huge pages are asked for where the engine runs, and not where Redis does; few arenas everywhere. */
import { describe, expect, test } from "vitest";
import { withTunables, withoutHugePages } from "#infra/setup/malloc.mjs";
import { makeCheckout } from "./checkout.ts";

const ours = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=2";

describe("the variable", () => {
  test.each([
    [undefined, ours],
    ["", ours],
    ["glibc.malloc.check=3", `glibc.malloc.check=3:${ours}`],
    ["glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0:glibc.malloc.arena_max=2"],
    ["glibc.malloc.arena_max=8:a.b.c=1", "glibc.malloc.arena_max=8:a.b.c=1:glibc.malloc.hugetlb=1"],
  ])("%s becomes %s", (before, after) => {
    expect(withTunables(before)).toBe(after);
  });

  test("is taken back for a server that forks, and nothing else with it", () => {
    const environment = { PATH: "/bin", GLIBC_TUNABLES: "glibc.malloc.hugetlb=1" };
    expect(withoutHugePages(environment)).toEqual({ PATH: "/bin" });
    const more = { ...environment, GLIBC_TUNABLES: "a.b.c=1:glibc.malloc.hugetlb=1" };
    expect(withoutHugePages(more)).toEqual({ PATH: "/bin", GLIBC_TUNABLES: "a.b.c=1" });
    expect(withoutHugePages({ PATH: "/bin" })).toEqual({ PATH: "/bin" });
  });
});

test("a program that was launched has it", async () => {
  const checkout = await makeCheckout();
  await checkout.write("tell.ts", "console.log(process.env.GLIBC_TUNABLES);");
  const { stdout } = await checkout.run("--run", "tell.ts");
  expect(stdout).toBe(`${ours}\n`);
});
