/**
 * Debian's redis-server, unpacked into a folder of ours by an ordinary user.
 *
 * apt-get works on lists of its own here, so nothing of the system is read-locked or changed; it
 * checks signatures as always. The packages that the system lacks (libraries included) are unpacked
 * side by side, and `bin/redis-server` is a two-line script that points the loader at them. All of
 * it appears under its final name at once, so a start that was cut off leaves nothing half done.
 * When something fails, the reason is logged and the next way is taken: undefined is returned.
 */
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { withLock } from "#infra/setup/lock.mjs";
import { findProgram, serverVersion } from "./binary.ts";
import type { ProvisionLog } from "./server.ts";

/** redis-tools holds the program itself, redis-server only its name. */
const packages = ["redis-server", "redis-tools"];
const programs = ["redis-server", "redis-cli"];
const aptMsMax = 120_000;
const outputBytesMax = 16 * 1024 * 1024;

interface Machine {
  readonly searchPath: string;
  readonly log: ProvisionLog;
}

/** @param folder ours alone; filled once and reused by every later start, without network */
export async function unpackDebianServer(
  folder: string,
  machine: Machine,
): Promise<string | undefined> {
  const server = join(folder, "bin", "redis-server");
  if ((await serverVersion(server)) !== undefined) return server;
  const { searchPath, log } = machine;
  const apt = await findProgram("apt-get", searchPath);
  const dpkgDeb = await findProgram("dpkg-deb", searchPath);
  if (apt === undefined || dpkgDeb === undefined || !(await isDebian())) return undefined;

  return withLock(`${folder}.lock`, async () => {
    // Whoever held the lock before us may have done it.
    if ((await serverVersion(server)) !== undefined) return server;
    log.info(`no Redis found: unpacking Debian's package into ${folder} (no system file changes)`);
    return (await fill(folder, { apt, dpkgDeb, log })) ? server : undefined;
  });
}

interface Tools {
  readonly apt: string;
  readonly dpkgDeb: string;
  readonly log: ProvisionLog;
}

/** True when the folder holds a server that runs. */
async function fill(folder: string, { apt, dpkgDeb, log }: Tools): Promise<boolean> {
  const work = await mkdtemp(`${folder}-`);
  try {
    const result = join(work, basename(folder));
    await download(apt, join(work, "apt"));
    await unpack(dpkgDeb, join(work, "apt"), result);
    await rm(folder, { recursive: true, force: true });
    await rename(result, folder);
    if ((await serverVersion(join(folder, "bin", "redis-server"))) === undefined) {
      throw new Error("the program does not run");
    }
    return true;
  } catch (error) {
    const { message, stderr } = error as Error & { stderr?: string };
    const reason = (stderr ?? "").trim().split("\n").at(-1) || message;
    log.warn(`Debian's redis-server could not be had: ${reason}`);
    return false;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Debian or a descendant of it such as Ubuntu; see os-release(5). */
async function isDebian(): Promise<boolean> {
  const text = await readFile("/etc/os-release", "utf8").catch(() => "");
  return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(text);
}

/** Leaves the .deb files of the packages, and of what they need and the system lacks, in `folder`. */
async function download(apt: string, folder: string): Promise<void> {
  await mkdir(join(folder, "lists", "partial"), { recursive: true });
  await mkdir(join(folder, "cache", "archives", "partial"), { recursive: true });
  const own = [
    "-q",
    `-oDir::State::Lists=${join(folder, "lists")}`,
    `-oDir::Cache=${join(folder, "cache")}`,
    "-oDebug::NoLocking=1",
    "-oAPT::Sandbox::User=",
    "-oAcquire::Languages=none",
    "-oAcquire::Retries=1",
  ];
  const run = (...args: string[]) =>
    promisify(execFile)(apt, [...own, ...args], {
      cwd: folder,
      timeout: aptMsMax,
      maxBuffer: outputBytesMax,
      env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
    });
  // A foreign source that does not answer must not stop us: the download says what is missing.
  await run("update").catch(() => {});
  // Simulated: prints "Inst NAME (VERSION …)" for each package that would be set up.
  const plan = await run("-s", "install", "--reinstall", "--no-install-recommends", ...packages);
  const names = [...plan.stdout.matchAll(/^Inst (\S+)/gm)].map((match) => match[1]!);
  await run("download", ...names);
}

async function unpack(dpkgDeb: string, from: string, to: string): Promise<void> {
  const root = join(to, "root");
  await mkdir(root, { recursive: true });
  for (const name of await readdir(from)) {
    if (name.endsWith(".deb")) await promisify(execFile)(dpkgDeb, ["-x", join(from, name), root]);
  }
  // A folder per machine kind lies there; none at all when the system has every library already.
  const libraries = await readdir(join(root, "usr", "lib")).catch(() => []);
  await mkdir(join(to, "bin"));
  for (const name of programs) {
    const path = join(to, "bin", name);
    await writeFile(path, launcherOf(name, libraries));
    await chmod(path, 0o755);
  }
}

/** The folder may be moved: the script finds its neighbours from where it stands. */
function launcherOf(name: string, libraries: readonly string[]): string {
  const folders = ["$root/usr/lib", ...libraries.map((library) => `$root/usr/lib/${library}`)];
  return [
    "#!/bin/sh",
    'root=$(CDPATH= cd -- "$(dirname -- "$0")/../root" && pwd)',
    `LD_LIBRARY_PATH="${folders.join(":")}" exec "$root/usr/bin/${name}" "$@"`,
    "",
  ].join("\n");
}
