/**
 * Lines that hold the promises, and what the code is without them. A simulation with one of them
 * broken must fail, or the simulation would not see it missing. Broken in memory only.
 */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

export interface Break {
  readonly name: string;
  /** Relative to the root. */
  readonly file: string;
  /** What must stand in the file, exactly once. */
  readonly line: string;
  readonly instead: string;
}

export const breaks: readonly Break[] = [
  {
    name: "fence",
    file: "infra/redis/scripts/commit-turn.lua",
    line: "if redis.call('GET', KEYS[1]) ~= ARGV[1] then",
    instead: "if false then",
  },
  {
    name: "head",
    file: "infra/redis/scripts/commit-turn.lua",
    line: "if turn ~= ARGV[2] or attempt ~= ARGV[3] then",
    instead: "if false then",
  },
  {
    name: "dedupe",
    file: "infra/redis/scripts/append-turn.lua",
    line: "if redis.call('EXISTS', KEYS[3]) == 1 then",
    instead: "if false then",
  },
  {
    name: "crc",
    file: "kernels/state/snapshot.ts",
    line: 'if (bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) return "bad-checksum";',
    instead: "",
  },
  {
    name: "sweeper",
    file: "infra/wake/sweep.ts",
    line: 'await bell.ring({ conversation, headTurnId: "", model, traceId: "sweep" });',
    instead: "",
  },
];

const root = join(import.meta.dirname, "..", "..");

export function breakNamed(name: string): Break {
  const found = breaks.find((one) => one.name === name);
  if (found === undefined) {
    throw new RangeError(`no such break: ${name}; there are ${breaks.map((b) => b.name).join()}`);
  }
  return found;
}

/** @throws when the line is not there, or there twice: then this list is out of date */
export function broken({ file, instead, line }: Break, text: string): string {
  const parts = text.split(line);
  if (parts.length !== 2)
    throw new Error(`${file} has this line ${parts.length - 1} times: ${line}`);
  return parts.join(instead);
}

export function textOf({ file }: Break): string {
  return readFileSync(join(root, file), "utf8");
}

/**
 * Breaks a TypeScript line in whatever is loaded from now on; a script's line is broken by what is
 * returned, for every client to edit its scripts with.
 */
export function apply(one: Break): (name: string, lua: string) => string {
  broken(one, textOf(one));
  if (one.file.endsWith(".lua")) {
    const script = basename(one.file, ".lua").replace(/-(\w)/g, (_, c: string) => c.toUpperCase());
    return (name, lua) => (name === script ? broken(one, lua) : lua);
  }
  const target = pathToFileURL(join(root, one.file)).href;
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context);
      if (url !== target) return loaded;
      return { ...loaded, source: broken(one, textOf(one)) };
    },
  });
  return (_, lua) => lua;
}
