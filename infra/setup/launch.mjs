/**
 * Runs a TypeScript file of ours on the pinned Node 24.
 *
 * The running process becomes that program when it already is the pinned Node; otherwise a child
 * does the work and this process only passes on: standard streams, SIGINT, SIGTERM and SIGHUP
 * (each once), the exit code or signal. A pipe on the child's descriptor 3 stays open as long as
 * we live; `exitWithParent` in parent.ts listens to it, so that a launcher killed with -9 takes its
 * child along.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import nodeModule from "node:module";
import { constants } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { withTunables } from "./malloc.mjs";
import { watchNpm } from "./npm-parent.mjs";
import { SetupError, nodeMajorForTypeScript, pinnedNodePackage } from "./ready.mjs";

const forwarded = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);
/** See parent.ts. */
const parentFd = 3;

/**
 * @param {string} root of the checkout
 * @param {string} file relative to the root
 * @param {readonly string[]} args
 */
export async function runTypeScript(root, file, args) {
  const node = pinnedNode(root);
  const program = resolve(root, file);
  const bin = join(root, "node_modules", ".bin");
  const path = (process.env.PATH ?? "").split(delimiter).filter((entry) => entry !== bin);
  process.env.PATH = [bin, ...path].join(delimiter);
  // onnxruntime would read the command line, prompt and all, and report to its maker.
  process.env.ORT_DISABLE_TELEMETRY = "1";
  process.env.GLIBC_TUNABLES = withTunables(process.env.GLIBC_TUNABLES);
  // Our files and the packages' are parsed and compiled once, not at every start: half of its CPU.
  process.env.NODE_COMPILE_CACHE ??= join(root, "node_modules", ".cache", "eyrie");
  if (node === realpathSync(process.execPath)) {
    process.argv.splice(1, process.argv.length, program, ...args);
    nodeModule.enableCompileCache(process.env.NODE_COMPILE_CACHE);
    await import(pathToFileURL(program).href);
  } else {
    await runChild(node, [program, ...args]);
  }
}

/**
 * Where the Node is that runs our TypeScript: the pinned one, else the running one if it can.
 * @param {string} root
 */
function pinnedNode(root) {
  const modules = join(root, "node_modules");
  const command = join(modules, ".bin", "node");
  if (existsSync(command)) return realpathSync(command);
  const program = join(modules, pinnedNodePackage, "bin", "node");
  if (existsSync(program)) return realpathSync(program);
  if (Number(process.versions.node.split(".")[0]) >= nodeMajorForTypeScript) {
    return realpathSync(process.execPath);
  }
  throw new SetupError(
    `no Node ${nodeMajorForTypeScript} comes with the packages on ${process.platform}-` +
      `${process.arch}. Install Node ${nodeMajorForTypeScript} and start again with it.`,
  );
}

/**
 * @param {string} node
 * @param {readonly string[]} args
 * @returns {Promise<void>}
 */
function runChild(node, args) {
  return new Promise((done, fail) => {
    const child = spawn(node, args, {
      stdio: ["inherit", "inherit", "inherit", "pipe"],
      env: { ...process.env, EYRIE_PARENT_FD: String(parentFd) },
    });
    const tie = child.stdio[parentFd];
    tie?.on("error", () => {}); // the child's end closing is its exit, told below
    const stopForwarding = forwardSignals((signal) => child.kill(signal));
    const stopWatching = watchNpm(() => tie?.destroy());
    child.once("error", (error) => {
      fail(new SetupError(`the pinned Node could not be started: ${error.message}`));
    });
    child.once("exit", (code, signal) => {
      stopWatching();
      stopForwarding();
      if (signal === null) process.exitCode = code ?? 1;
      else endBySignal(signal);
      done();
    });
  });
}

/**
 * Passes each signal on once. Ctrl-C reaches the whole foreground group of the terminal, our child
 * included, and npm sends us a second copy: then there is nothing to pass on.
 * @param {(signal: NodeJS.Signals) => void} send
 */
function forwardSignals(send) {
  /** @type {Map<NodeJS.Signals, () => void>} */
  const listeners = new Map();
  for (const signal of forwarded) {
    let passedOn = false;
    const listener = () => {
      if (passedOn || (signal === "SIGINT" && ownsTerminal())) return;
      passedOn = true;
      send(signal);
    };
    listeners.set(signal, listener);
    process.on(signal, listener);
  }
  return () => {
    for (const [signal, listener] of listeners) process.off(signal, listener);
  };
}

/** Whether our process group is the terminal's foreground group (proc(5): fields pgrp and tpgid). */
function ownsTerminal() {
  if (!existsSync("/proc/self/stat")) return process.stdin.isTTY;
  const fields = readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return fields[2] === fields[5];
}

/**
 * Ends as the child ended, so that a shell or supervisor sees the same.
 * @param {NodeJS.Signals} signal
 */
function endBySignal(signal) {
  process.exitCode = 128 + constants.signals[signal];
  if (signal !== "SIGKILL") process.kill(process.pid, signal);
}
