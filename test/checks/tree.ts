/**
 * The tracked files of the checkout, and what the compiler's syntax tree says about the TypeScript
 * among them: which modules each file names, and which constructs it uses.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { parseAst } from "vitest/node";

export const root = join(import.meta.dirname, "..", "..");

/** Paths relative to the root. Files that are deleted but not yet committed so are left out. */
export function trackedFiles(): string[] {
  const list = execFileSync("git", ["ls-files", "-z"], { cwd: root, maxBuffer: 2 ** 26 });
  const paths = list.toString().split("\0");
  return paths.filter((path) => path !== "" && existsSync(join(root, path)));
}

export function contentOf(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

export function isTypeScript(path: string): boolean {
  return /\.(ts|tsx)$/.test(path) && !path.endsWith(".d.ts");
}

export interface Import {
  /** A path relative to the root for a file of ours, else the package or `node:` module. */
  readonly target: string;
  /** Erased before the program runs. */
  readonly typeOnly: boolean;
}

export interface Syntax {
  readonly imports: readonly Import[];
  /** Text literals: programs are also started by file name. */
  readonly literals: readonly string[];
  /** Kinds of nodes that type stripping cannot erase. */
  readonly unerasable: readonly string[];
}

const unerasableKinds: Readonly<Record<string, string>> = {
  TSEnumDeclaration: "enum",
  TSModuleDeclaration: "namespace",
  TSParameterProperty: "parameter property",
  TSImportEqualsDeclaration: "import =",
  TSExportAssignment: "export =",
  Decorator: "decorator",
};

interface Node {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** @throws when the text is not TypeScript */
export function syntaxOf(path: string, text: string): Syntax {
  const imports: Import[] = [];
  const literals: string[] = [];
  const unerasable: string[] = [];
  const lang = path.endsWith(".tsx") ? "tsx" : "ts";
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) return value.forEach(visit);
    if (!isNode(value)) return;
    const source = moduleNamedBy(value);
    if (source !== undefined) {
      imports.push({ target: resolveModule(path, source), typeOnly: isTypeOnly(value) });
    }
    const kind = unerasableKinds[value.type];
    if (kind !== undefined && value["declare"] !== true) unerasable.push(kind);
    if (value.type === "Literal" && typeof value["value"] === "string") {
      literals.push(value["value"]);
    }
    Object.values(value).forEach(visit);
  };
  visit(parseAst(text, { lang }));
  return { imports, literals, unerasable };
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value;
}

function moduleNamedBy(node: Node): string | undefined {
  const naming = /^(Import(Declaration|Expression)|Export(All|Named)Declaration|TSImportType)$/;
  if (!naming.test(node.type)) return undefined;
  const source = node["source"];
  if (!isNode(source)) return undefined;
  return typeof source["value"] === "string" ? source["value"] : undefined;
}

function isTypeOnly(node: Node): boolean {
  if (node.type === "TSImportType") return true;
  if (node["importKind"] === "type" || node["exportKind"] === "type") return true;
  const specifiers = node["specifiers"];
  if (!Array.isArray(specifiers) || specifiers.length === 0) return false;
  return specifiers.every(
    (specifier: Node) => specifier["importKind"] === "type" || specifier["exportKind"] === "type",
  );
}

/** `#infra/x.ts` and `./x.ts` become paths; a package's name is left as it is. */
function resolveModule(from: string, specifier: string): string {
  if (specifier.startsWith("#")) return specifier.slice(1);
  if (!specifier.startsWith(".")) return specifier;
  return normalize(join(dirname(from), specifier));
}
