/**
 * Notices that the npm is gone which runs us as a script. npm gives us no pipe whose end would tell,
 * and puts a shell in between that outlives it; what changes is the parent of that shell.
 */
import { readFileSync } from "node:fs";

const pollMs = 1_000;
const shell = /^(sh|dash|bash|ash|busybox)$/;

/**
 * Calls `onGone` once when npm has ended, whatever the way. Does nothing when we were not started
 * by npm. Keeps no process alive.
 * @param {() => void} onGone
 * @returns {() => void} stops watching
 */
export function watchNpm(onGone) {
  if (process.env.npm_lifecycle_event === undefined) return () => {};
  const before = starters();
  const poll = setInterval(() => {
    if (starters() === before) return;
    clearInterval(poll);
    onGone();
  }, pollMs);
  poll.unref();
  return () => clearInterval(poll);
}

/** Our parent, and its parent as well when ours is only the shell in between. */
function starters() {
  const parent = process.ppid;
  try {
    // proc(5): "pid (name) state ppid …"; a name may hold blanks and parentheses.
    const stat = readFileSync(`/proc/${parent}/stat`, "utf8");
    const [, name = "", rest = ""] = /^\d+ \((.*)\) (.*)$/s.exec(stat) ?? [];
    return shell.test(name) ? `${parent} of ${rest.split(" ")[1]}` : `${parent}`;
  } catch {
    return `${parent}`; // no /proc: the parent alone must do
  }
}
