/**
 * Ties a process to the one that started it: when the parent is gone, even by `kill -9`, the child
 * ends too.
 *
 * The tie is a pipe whose other end only the parent holds; the kernel closes it when the parent
 * dies, whatever the reason. Nothing is polled and no process id is compared, so reuse of ids does
 * no harm. The exception is npm, which gives us no pipe; see npm-parent.mjs.
 */
import { Socket } from "node:net";
import { watchNpm } from "./npm-parent.mjs";

/** Names the descriptor of the pipe; set by whoever starts us (launch.mjs). */
const parentFdVariable = "EYRIE_PARENT_FD";

/**
 * Call it once, first thing in a long-running program. When the parent is gone the process gets
 * SIGTERM, so that its ordinary way to stop runs, and SIGKILL after `graceMs` if it still runs.
 */
export function exitWithParent({ graceMs = 15_000 }: { graceMs?: number } = {}): void {
  const fd = process.env[parentFdVariable];
  // Our own children have other parents: they must not find the name of a descriptor they lack.
  delete process.env[parentFdVariable];
  if (fd !== undefined) {
    const pipe = new Socket({ fd: Number(fd), readable: true, writable: false });
    pipe.on("error", () => {}); // a broken pipe closes as well
    pipe.once("close", () => endSelf(graceMs));
    pipe.resume();
    pipe.unref();
  } else {
    watchNpm(() => endSelf(graceMs));
  }
}

function endSelf(graceMs: number): void {
  setTimeout(() => process.kill(process.pid, "SIGKILL"), graceMs).unref();
  process.kill(process.pid, "SIGTERM");
}
