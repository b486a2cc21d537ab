import { describe, expect, test } from "vitest";
import {
  addresses,
  badFolder,
  isData,
  leftovers,
  tooLong,
  tooWide,
  unerasable,
  unreachable,
} from "./tidy.ts";
import { contentOf, isTypeScript, syntaxOf, trackedFiles } from "./tree.ts";

const files = trackedFiles();
const texts = files.filter((path) => !isData(path)).map((path) => [path, contentOf(path)] as const);

function everywhere(rule: (path: string, text: string) => string[]): string[] {
  return texts.flatMap(([path, text]) => rule(path, text));
}

describe("files can be read in one sitting", () => {
  test("no file is too long", () => expect(everywhere(tooLong)).toEqual([]));
  test("no line is too wide", () => expect(everywhere(tooWide)).toEqual([]));

  test("both are noticed", () => {
    expect(tooLong("infra/a.ts", "x\n".repeat(451))).toHaveLength(1);
    expect(tooLong("infra/a.ts", "x\n".repeat(450))).toEqual([]);
    expect(tooLong("kernels/model/tables/a.ts", "x\n".repeat(451))).toEqual([]);
    expect(tooWide("infra/a.ts", `a\n${"x".repeat(111)}`)).toEqual([
      "infra/a.ts:2: over 110 columns",
    ]);
  });
});

/** Where programs begin: our commands, all of test/, and what package.json or a tool loads. */
function isEntry(path: string): boolean {
  if (path.startsWith("test/") || /^[^/]+\.config\.ts$/.test(path)) return true;
  return /^apps\/[^/]+\/main\.ts$/.test(path) || contentOf("package.json").includes(path);
}

describe("folders are rooms", () => {
  test("none is named by kind", () => expect(files.flatMap(badFolder)).toEqual([]));
  test("one would be noticed", () => expect(badFolder("infra/utils/a.ts")).toHaveLength(1));
});

describe("type stripping can erase every type", () => {
  test("everywhere", () => expect(everywhere(unerasable)).toEqual([]));

  test.each([
    ["enum Colour { Red }", "enum"],
    ["namespace A { export const b = 1; }", "namespace"],
    ["class A { constructor(private readonly b: number) {} }", "parameter property"],
  ])("%s is noticed", (text, kind) => expect(unerasable("a.ts", text)).toEqual([`a.ts: ${kind}`]));
});

describe("nothing is unfinished or tied to one machine", () => {
  test("no leftovers", () => expect(everywhere(leftovers)).toEqual([]));
  test("no addresses", () => {
    const all = [...everywhere(addresses), ...addresses("package-lock.json", lock)];
    expect(all).toEqual([]);
  });
  const lock = contentOf("package-lock.json");

  // Spelt in parts, because this file is checked as well.
  test.each(["TO", "FIX"])("an unfinished line is noticed (%s…)", (start) => {
    const rest = start === "TO" ? "DO" : "ME";
    expect(leftovers("a.ts", `\n// ${start}${rest}: later`)).toEqual(["a.ts:2: unfinished"]);
  });

  test.each([
    ["home", "/ada/x", "a path of one machine"],
    ["work", "/main", "a path of one machine"],
  ])("an address is noticed: %s%s", (folder, rest, what) => {
    expect(addresses("a.ts", `"/${folder}${rest}"`)).toEqual([`a.ts:1: ${what}`]);
    expect(addresses("a.ts", `"infra/${folder}${rest}"`)).toEqual([]);
  });

  test("a registry is noticed", () => {
    const host = ["registry", "npmjs", "org"].join(".");
    expect(addresses("a.json", `https://${host}/x`)).toEqual(["a.json:1: a registry's address"]);
  });
});

describe("no dead file", () => {
  test("every TypeScript file is reached from a command or a test", () => {
    const sources = files.filter(isTypeScript);
    const syntaxes = new Map(sources.map((path) => [path, syntaxOf(path, contentOf(path))]));
    expect(unreachable(syntaxes, sources.filter(isEntry))).toEqual([]);
  });

  test("one would be noticed", () => {
    const paths = {
      "apps/cli/main.ts": 'import "#infra/a.ts";',
      "infra/b.ts": "",
      "infra/c.ts": "",
    };
    const program = { "infra/a.ts": 'start(new URL("b.ts", import.meta.url));' };
    const syntaxes = new Map(
      Object.entries({ ...paths, ...program }).map(([path, text]) => [path, syntaxOf(path, text)]),
    );
    expect(unreachable(syntaxes, ["apps/cli/main.ts"])).toEqual(["infra/c.ts"]);
  });
});
