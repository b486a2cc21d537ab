/**
 * A lock between processes that works on any file system and outlives nobody: the holder touches
 * its file every two seconds, so a file that has not been touched for ten belonged to a process
 * that died. Or to one that was stopped for so long: it does not learn that another took over, but it
 * leaves the other's file alone. Used where Node 20 must do, before anything is installed.
 */
import { randomUUID } from "node:crypto";
import {
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const beatMs = 2_000;
const staleAfterMs = 10_000;
const pollMs = 200;

/**
 * Runs `work` while holding the lock; waits for whoever holds it now.
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} work
 * @param {{ onWait?: () => void }} [options] `onWait` is called once when somebody else holds it
 * @returns {Promise<T>}
 */
export async function withLock(path, work, { onWait } = {}) {
  mkdirSync(dirname(path), { recursive: true });
  const mark = `${process.pid} ${randomUUID()}\n`;
  let told = false;
  while (!tryTake(path, mark)) {
    if (removeStale(path)) continue;
    if (!told) onWait?.();
    told = true;
    await sleep(pollMs);
  }
  const beat = setInterval(() => {
    // Else somebody took or deleted the lock under us: the work goes on, unguarded.
    if (isOurs(path, mark)) touch(path);
  }, beatMs);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    if (isOurs(path, mark)) rmSync(path, { force: true });
  }
}

/** @param {string} path */
function touch(path) {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch {
    // It went in this very moment.
  }
}

/**
 * @param {string} path
 * @param {string} mark
 */
function isOurs(path, mark) {
  try {
    return readFileSync(path, "utf8") === mark;
  } catch {
    return false;
  }
}

/**
 * @param {string} path
 * @param {string} mark
 */
function tryTake(path, mark) {
  try {
    writeFileSync(path, mark, { flag: "wx" });
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    // On a full disk it is made and stays empty.
    if (hasCode(error, "ENOSPC") || hasCode(error, "EDQUOT")) rmSync(path, { force: true });
    throw error;
  }
}

/**
 * Removes a dead holder's file; true when the lock may be free now. The file is moved aside before
 * it is judged a second time, because between look and move another waiter may have taken the
 * lock anew: that one's file is put back.
 * @param {string} path
 */
function removeStale(path) {
  const aside = `${path}.${process.pid}`;
  try {
    if (!isStale(path)) return false;
    renameSync(path, aside);
    if (!isStale(aside)) linkSync(aside, path);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT") || hasCode(error, "EEXIST")) return true;
    throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

/** @param {string} path */
function isStale(path) {
  return Date.now() - statSync(path).mtimeMs > staleAfterMs;
}

/**
 * @param {unknown} error
 * @param {string} code
 */
function hasCode(error, code) {
  return error instanceof Error && "code" in error && error.code === code;
}
