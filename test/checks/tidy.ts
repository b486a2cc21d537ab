/** Rules of form. Each takes a path and its text and names what is wrong, line by line. */
import { dirname, join, normalize } from "node:path";
import { isTypeScript, type Syntax, syntaxOf } from "./tree.ts";

const linesMax = 450;
const columnsMax = 110;
const foldersByKind = ["utils", "util", "helpers", "types", "interfaces", "classes", "enums"];
/** Data is as long as it is, and nobody reads it line by line. */
const dataFolders = /(^|\/)(fixtures|models|tables|data|results)\//;
const binary = /\.(png|jpg|webp|ico|woff2|safetensors|pth|bin|onnx|gz|zst)$/;

export function isData(path: string): boolean {
  return dataFolders.test(path) || binary.test(path) || path === "package-lock.json";
}

export function tooLong(path: string, text: string): string[] {
  if (!/\.(ts|tsx|mjs|cpp|cu|cuh|h|py|lua)$/.test(path) || isData(path)) return [];
  const lines = text.split("\n").length - 1;
  return lines > linesMax ? [`${path}: ${lines} lines, at most ${linesMax}`] : [];
}

export function tooWide(path: string, text: string): string[] {
  if (!isTypeScript(path) || isData(path)) return [];
  return matchingLines(
    path,
    text,
    (line) => line.length > columnsMax,
    `over ${columnsMax} columns`,
  );
}

export function badFolder(path: string): string[] {
  const found = dirname(path)
    .split("/")
    .find((name) => foldersByKind.includes(name));
  return found === undefined ? [] : [`${path}: "${found}" is a folder by kind, not a room`];
}

export function unerasable(path: string, text: string): string[] {
  if (!isTypeScript(path) || path.endsWith(".tsx")) return [];
  return syntaxOf(path, text).unerasable.map((kind) => `${path}: ${kind}`);
}

// Spelt so that this file passes its own rules.
const leftover = /\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b/;
const machinePath = /(?<![\w.:/])\/(work|root|home\/\w+|Users\/\w+)\//;
const registry = /registry\.(npm[j]s|yarn[p]kg|npm[m]irror)|_auth[T]oken/;

export function leftovers(path: string, text: string): string[] {
  if (isData(path)) return [];
  return matchingLines(path, text, (line) => leftover.test(line), "unfinished");
}

export function addresses(path: string, text: string): string[] {
  if (binary.test(path)) return [];
  return [
    ...matchingLines(path, text, (line) => machinePath.test(line), "a path of one machine"),
    ...matchingLines(path, text, (line) => registry.test(line), "a registry's address"),
  ];
}

function matchingLines(
  path: string,
  text: string,
  matches: (line: string) => boolean,
  what: string,
): string[] {
  return text
    .split("\n")
    .flatMap((line, index) => (matches(line) ? [`${path}:${index + 1}: ${what}`] : []));
}

/**
 * Files that nothing leads to. A file leads to what it imports and to what it names in a text
 * literal (a program that it starts), relative to itself, to its folder's parents or to the root.
 */
export function unreachable(
  files: ReadonlyMap<string, Syntax>,
  entries: readonly string[],
): string[] {
  const reached = new Set<string>();
  const waiting = entries.filter((path) => files.has(path));
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    const syntax = files.get(path)!;
    const folder = dirname(path);
    const named = syntax.literals.flatMap((literal) => [
      normalize(literal),
      normalize(join(folder, literal)),
    ]);
    const next = [...syntax.imports.map((one) => one.target), ...named];
    waiting.push(...next.filter((target) => files.has(target)));
  }
  return [...files.keys()].filter((path) => !reached.has(path));
}
