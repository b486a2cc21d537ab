import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { configSchema, loadConfig } from "#infra/config/config.ts";
import { EyrieError } from "#infra/errors/error.ts";

const readmePath = join(import.meta.dirname, "../../../README.md");
const root = join(import.meta.dirname, "../../..");

describe("a wrong value is named and never shown", () => {
  test.each([
    ["EYRIE_SLOTS", "many"],
    ["EYRIE_SLOTS", "0"],
    ["EYRIE_WORKER_PORT", "70000"],
    ["REDIS_URL", "http://secret@example"],
    ["DISCORD_API_URL", "not a url"],
    ["HF_ENDPOINT", "not a url"],
    ["HF_ENDPOINT", "http://ada:secret@example"],
    ["HF_ENDPOINT", "http://ada@example"],
    ["HF_ENDPOINT", "http://example/?token=secret"],
    ["HF_ENDPOINT", "http://example/#secret"],
    ["EYRIE_PROFILE", "staging"],
    ["EYRIE_LOCALE", "xx"],
    ["EYRIE_LOG_LEVEL", "loud"],
  ])("%s=%s", (key, value) => {
    try {
      loadConfig({ [key]: value });
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(EyrieError);
      const { code, values } = error as EyrieError;
      expect(code).toBe("CONFIG_INVALID");
      expect(values["key"]).toBe(key);
      expect(JSON.stringify(values)).not.toContain(value === "0" ? '"0"' : value);
    }
  });
});

test("an empty value is no value", () => {
  const empty = Object.fromEntries(Object.keys(configSchema.shape).map((key) => [key, ""]));
  expect(loadConfig(empty)).toEqual(loadConfig({}));
});

test("the README's table is the schema's; set EYRIE_WRITE_README to make it anew", () => {
  const defaults = loadConfig({});
  const rows = Object.entries(configSchema.shape).map(([key, schema]) => {
    const value = defaults[key as keyof typeof defaults];
    const shown = value === undefined ? "" : `\`${String(value).replace(`${root}/`, "")}\``;
    return `| \`${key}\` | ${shown} | ${schema.description ?? ""} |`;
  });
  const table = ["| variable | default | meaning |", "|---|---|---|", ...rows].join("\n");
  const readme = readFileSync(readmePath, "utf8");
  const section = /(<!-- configuration: [^>]*-->\n)([^]*?)(<!-- \/configuration -->)/;
  if (process.env["EYRIE_WRITE_README"] !== undefined) {
    writeFileSync(readmePath, readme.replace(section, `$1${table}\n$3`));
    return;
  }
  expect(section.exec(readme)?.[2]).toBe(`${table}\n`);
});
