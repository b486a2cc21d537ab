/**
 * Installs what the lock file names, once, however many starts ask for it at the same moment.
 *
 * Promises: after it returns, `node_modules` is what the lock file says and carries the stamp; an
 * installation that somebody else made with `npm ci` or `npm install` is recognised and kept. When
 * npm fails, its last words are printed and a SetupError says what to do.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { withLock } from "./lock.mjs";
import {
  SetupError,
  dependenciesAreCurrent,
  lockFingerprint,
  pinnedNodePackage,
  stampPath,
} from "./ready.mjs";

/** What is kept of npm's output, for the case that it fails. */
const outputCharactersMax = 20_000;
const shownLinesMax = 12;

/** Left alone, npm waits 10 s and more before each retry: over a minute to learn of no network. */
const npmOptions = [
  "--no-audit",
  "--no-fund",
  "--no-progress",
  "--fetch-retry-mintimeout=1000",
  "--fetch-retry-maxtimeout=5000",
];

/** npm's error codes (and system errors it passes on) → what a person can do. */
const remedies = [
  {
    codes: /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)\b/,
    text: "npm cannot reach its registry. Check the network and `npm config get proxy registry`",
  },
  {
    codes: /\b(CERT_\w+|SELF_SIGNED\w+|UNABLE_TO_\w+|DEPTH_ZERO\w+)\b/,
    text: "npm does not trust the registry's certificate. Point NODE_EXTRA_CA_CERTS at your CA file",
  },
  { codes: /\bENOSPC\b/, text: "the disk is full; about 1 GB is needed. Make room" },
  {
    codes: /\b(EACCES|EPERM|EROFS)\b/,
    text: "npm may not write here. Make this folder and npm's cache yours (chown)",
  },
  {
    codes: /\bEUSAGE\b/,
    text: "package.json and package-lock.json disagree. Run `npm install` once",
  },
];

/**
 * @param {string} root of the checkout
 * @param {{ dev: boolean }} need whether the development tools are needed too
 */
export async function installDependencies(root, need) {
  const work = async () => {
    if (dependenciesAreCurrent(root, need) || adopt(root, need)) return;
    rmSync(stampPath(root), { force: true });
    await runNpm(root, need);
    if (!adopt(root, need)) {
      throw new SetupError(
        "npm finished, yet packages are missing. Remove node_modules and retry.",
      );
    }
  };
  await withLock(join(root, ".eyrie", "setup.lock"), work, {
    onWait: () => process.stderr.write("Another start is installing dependencies; waiting…\n"),
  });
}

/**
 * Stamps an installation that is complete, whoever made it. npm writes what it installed into
 * `node_modules/.package-lock.json`; that is compared with our lock file, package by package.
 * @param {string} root
 * @param {{ dev: boolean }} need
 */
function adopt(root, need) {
  const installedPath = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installedPath)) return false;
  const wanted = packagesOf(join(root, "package-lock.json"));
  const installed = packagesOf(installedPath);
  let complete = "all";
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === "") continue;
    const found = installed[path];
    if (found === undefined) {
      if (entry.optional || entry.devOptional || entry.peer) continue;
      if (!entry.dev) return false;
      complete = "runtime";
    } else if (found.version !== entry.version || found.integrity !== entry.integrity) {
      return false;
    }
  }
  if (need.dev && complete !== "all") return false;
  leaveMarks(root, complete);
  return true;
}

/**
 * @typedef {{ version?: string, integrity?: string, dev?: boolean, optional?: boolean,
 *   devOptional?: boolean, peer?: boolean }} LockEntry
 * @param {string} path of a lock file
 * @returns {Record<string, LockEntry>}
 */
function packagesOf(path) {
  return JSON.parse(readFileSync(path, "utf8")).packages ?? {};
}

/**
 * The stamp, and two commands in `node_modules/.bin`: ours, because npm links those of packages but
 * not the root's own, and the pinned `node`, because npm 10 leaves it out.
 * @param {string} root
 * @param {string} complete
 */
function leaveMarks(root, complete) {
  const modules = join(root, "node_modules");
  try {
    link(join(modules, ".bin", "eyrie"), join("..", "..", "eyrie.mjs"));
    const node = join(pinnedNodePackage, "bin", "node");
    if (existsSync(join(modules, node))) link(join(modules, ".bin", "node"), join("..", node));
    writeFileSync(stampPath(root), `${lockFingerprint(root)} ${complete}\n`);
  } catch (error) {
    // A read-only image: complete all the same, the next start merely looks again.
    if (!(error instanceof Error && "code" in error && error.code === "EROFS")) throw error;
  }
}

/**
 * @param {string} path
 * @param {string} target
 */
function link(path, target) {
  mkdirSync(dirname(path), { recursive: true });
  rmSync(path, { force: true });
  symlinkSync(target, path);
}

/**
 * @param {string} root
 * @param {{ dev: boolean }} need
 */
async function runNpm(root, { dev }) {
  const stopTelling = tellProgress();
  const args = ["ci", ...npmOptions, ...(dev ? ["--include=dev"] : [])];
  const { code, output } = await capture(root, args).finally(stopTelling);
  if (code === 0) return;
  const lines = output.split("\n").filter((line) => /^npm (error|ERR!)/.test(line));
  process.stderr.write(`${lines.slice(0, shownLinesMax).join("\n")}\n`);
  const errors = lines.join("\n");
  const remedy = remedies.find(({ codes }) => codes.test(errors));
  if (remedy === undefined) {
    throw new SetupError(`npm ci ended with code ${code}; what it said is above.`);
  }
  throw new SetupError(`${remedy.text}, then start again (${remedy.codes.exec(errors)?.[0]}).`);
}

/**
 * @param {string} root
 * @param {readonly string[]} args
 * @returns {Promise<{ code: number | string, output: string }>}
 */
function capture(root, args) {
  return new Promise((resolve, reject) => {
    const npm = spawn("npm", args, {
      cwd: root,
      env: npmEnvironment(root),
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (/** @type {Buffer} */ chunk) => {
      output = (output + chunk.toString()).slice(-outputCharactersMax);
    };
    npm.stdout.on("data", keep);
    npm.stderr.on("data", keep);
    npm.once("error", () => {
      reject(new SetupError("npm was not found on PATH. Install npm 10 or newer beside Node."));
    });
    npm.once("close", (code, signal) => resolve({ code: code ?? signal ?? 1, output }));
  });
}

/**
 * `npm ci` deletes node_modules, and under `npm start` that is where `node` would be found.
 * onnxruntime-node's install script fetches CUDA files from elsewhere and fails the whole
 * installation when it cannot; npm 11 is told so in package.json, older ones by this variable.
 * @param {string} root
 */
function npmEnvironment(root) {
  const inside = join(root, "node_modules");
  const path = (process.env.PATH ?? "").split(delimiter).filter((at) => !at.startsWith(inside));
  return { ...process.env, PATH: path.join(delimiter), ONNXRUNTIME_NODE_INSTALL: "skip" };
}

/** Tells that something goes on; returns how to stop telling. */
function tellProgress() {
  const startedMs = Date.now();
  const seconds = () => Math.round((Date.now() - startedMs) / 1000);
  const text = "Installing dependencies (npm ci, about half a minute)…";
  const live = process.stderr.isTTY;
  process.stderr.write(live ? text : `${text}\n`);
  const tick = setInterval(() => {
    if (live) process.stderr.write(`\r${text} ${seconds()} s`);
  }, 1_000);
  return () => {
    clearInterval(tick);
    process.stderr.write(`${live ? "\r\u001B[K" : ""}npm ci ended after ${seconds()} s\n`);
  };
}
