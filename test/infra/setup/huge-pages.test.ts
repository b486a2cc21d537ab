/** Huge pages are asked for where the engine runs, and not where Redis does. */
import { describe, expect, test } from "vitest";
import { withHugePages, withoutHugePages } from "#infra/setup/huge-pages.mjs";
import { makeCheckout } from "./checkout.ts";

describe("the variable", () => {
  test.each([
    [undefined, "glibc.malloc.hugetlb=1"],
    ["", "glibc.malloc.hugetlb=1"],
    ["glibc.malloc.check=3", "glibc.malloc.check=3:glibc.malloc.hugetlb=1"],
    ["glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"],
    ["glibc.malloc.hugetlb=2:a.b.c=1", "glibc.malloc.hugetlb=2:a.b.c=1"],
  ])("%s becomes %s", (before, after) => {
    expect(withHugePages(before)).toBe(after);
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
  expect(stdout).toBe("glibc.malloc.hugetlb=1\n");
});
