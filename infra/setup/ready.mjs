/**
 * Is this checkout ready to run? Answered on every start, so it only reads three small things: the
 * lock file, the stamp that the last installation left, and where the pinned Node lies.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const nodeMajorMin = 20;
/** The oldest Node that runs our TypeScript as it is. */
export const nodeMajorForTypeScript = 24;
/** The optional dependency that brings the pinned Node to this kind of machine. */
export const pinnedNodePackage = `node-${process.platform}-${process.arch}`;

/** A set-up problem that a person can mend; its message is one line and says how. */
export class SetupError extends Error {
  /** @param {string} message what is wrong and what to do */
  constructor(message) {
    super(message);
    this.name = "SetupError";
  }
}

/**
 * Prints a set-up problem as one line. Anything else is a fault of ours and keeps its stack.
 * @param {unknown} error
 */
export function stopOnSetupError(error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`SETUP_FAILED: ${error.message}\n`);
  process.exitCode = 1;
}

/** @param {string} version of the running Node */
export function requireNode(version) {
  if (Number(version.split(".")[0]) < nodeMajorMin) {
    throw new SetupError(
      `this is Node ${version}, Eyrie needs ${nodeMajorMin} or newer. Install a newer Node.`,
    );
  }
}

/** @param {string} root of the checkout */
export function stampPath(root) {
  return join(root, "node_modules", ".eyrie-stamp");
}

/**
 * Names what must be installed: the lock file's bytes, for this kind of machine.
 * @param {string} root
 */
export function lockFingerprint(root) {
  const lock = readFileSync(join(root, "package-lock.json"));
  return `${process.platform}-${process.arch} ${createHash("sha256").update(lock).digest("hex")}`;
}

/**
 * The stamp is the fingerprint and, after it, `all` or `runtime` (installed without the
 * development tools, as in a container image).
 * @param {string} root
 * @param {{ dev: boolean }} need whether the development tools are needed too
 */
export function dependenciesAreCurrent(root, { dev }) {
  const path = stampPath(root);
  if (!existsSync(path)) return false;
  const stamp = readFileSync(path, "utf8").trim();
  const fingerprint = lockFingerprint(root);
  return stamp === `${fingerprint} all` || (!dev && stamp === `${fingerprint} runtime`);
}
