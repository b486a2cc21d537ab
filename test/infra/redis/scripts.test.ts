/** A script's header is its contract: it names every key and argument that the code uses. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const directory = join(import.meta.dirname, "../../../infra/redis/scripts");

/** New work, or copies of old: may wait until there is room. */
const admits = new Set([
  "append-turn.lua",
  "name-snapshot.lua",
  "plant-conversation.lua",
  "regenerate-turn.lua",
  "replace-snapshot.lua",
  "restore-conversation.lua",
  "replace-value.lua",
]);
const reads = new Set(["copy-conversation.lua", "read-conversation.lua"]);

function indices(text: string, name: "KEYS" | "ARGV"): number[] {
  const found = [...text.matchAll(new RegExp(`${name}\\[(\\d+)\\]`, "g"))].map((m) => Number(m[1]));
  return [...new Set(found)].sort((a, b) => a - b);
}

describe.each(readdirSync(directory))("%s", (file) => {
  const text = readFileSync(join(directory, file), "utf8");
  const header = text.split("\n").filter((line) => line.startsWith("--"));
  const code = text.split("\n").filter((line) => !line.startsWith("--"));

  test("is refused whole when memory is out if it admits work, and runs if it ends or reads work", () => {
    const flags = reads.has(file) ? " flags=no-writes" : " flags=allow-oom";
    expect(text.split("\n")[0]).toBe(`#!lua${admits.has(file) ? "" : flags}`);
  });

  test("documents exactly the keys and arguments that it uses", () => {
    for (const name of ["KEYS", "ARGV"] as const) {
      expect(indices(header.join("\n"), name)).toEqual(indices(code.join("\n"), name));
    }
  });

  test("says what it returns and what happens when it runs twice", () => {
    const prose = header.join(" ");
    expect(prose).toContain("Returns");
    expect(prose).toContain("Run twice");
  });
});
