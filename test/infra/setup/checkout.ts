/**
 * A small checkout of its own: the bootstrap, a lock file of one package, a program, and an `npm`
 * that installs without a network and writes down each time it is called.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

const root = join(import.meta.dirname, "..", "..", "..");
const lock = { lockfileVersion: 3, packages: { "": {}, "node_modules/a": { version: "1.0.0" } } };

/**
 * `npm ci` as far as the bootstrap can see it. The Node it brings is a wrapper, as a real one would
 * be another file than the running one, and it is not linked into .bin, as npm 10 does not.
 */
const installer = `#!/bin/sh
echo "$@" >> npm.log
sleep 0.3
mkdir -p node_modules/.bin
cp package-lock.json node_modules/.package-lock.json
node=node_modules/node-${process.platform}-${process.arch}/bin/node
mkdir -p "$(dirname "$node")"
printf '#!/bin/sh\\nexec "${process.execPath}" "$@"\\n' > "$node"
chmod +x "$node"
`;

export interface Checkout {
  readonly folder: string;
  /** Starts `node eyrie.mjs …` with nothing on PATH but our npm and the system's programs. */
  start(...args: string[]): ChildProcess;
  /** The same, to the end. */
  run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }>;
  write(path: string, text: string): Promise<void>;
  /** The arguments of each call of npm. */
  npmCalls(): Promise<string[]>;
}

/** @param npm the text of the program, or undefined for a machine that has none */
export async function makeCheckout(
  { npm }: { npm: string | undefined } = { npm: installer },
): Promise<Checkout> {
  const folder = await mkdtemp(join(tmpdir(), "eyrie-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const write = async (path: string, text: string) => {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, path), text);
  };
  await cp(join(root, "eyrie.mjs"), join(folder, "eyrie.mjs"));
  await cp(join(root, "infra", "setup"), join(folder, "infra", "setup"), { recursive: true });
  await write("package.json", '{ "type": "module" }');
  await write("package-lock.json", JSON.stringify(lock));
  await mkdir(join(folder, "bin"));
  if (npm !== undefined) {
    await write("bin/npm", npm);
    await chmod(join(folder, "bin", "npm"), 0o755);
  }
  const system = npm === undefined ? "" : ":/usr/bin:/bin";

  const start = (...args: string[]) => {
    const child = spawn(process.execPath, ["eyrie.mjs", ...args], {
      cwd: folder,
      env: { PATH: join(folder, "bin") + system },
      stdio: ["ignore", "pipe", "pipe"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    return child;
  };
  const run = async (...args: string[]) => {
    const child = start(...args);
    let [stdout, stderr] = ["", ""];
    child.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, "close")) as [number | null];
    return { code, stdout, stderr };
  };
  const npmCalls = async () => {
    const text = await readFile(join(folder, "npm.log"), "utf8").catch(() => "");
    return text.split("\n").filter((line) => line !== "");
  };
  return { folder, start, run, write, npmCalls };
}
