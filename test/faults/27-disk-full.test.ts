/**
 * Fault: the disk of the truth Redis is full (a tmpfs of 16 MB).
 * Expected: with `appendfsync always` Redis ends itself rather than acknowledge what it cannot keep;
 *   a supervisor starts it again when there is room. Nothing is accepted meanwhile.
 * Invariant: what was said while it was full is answered once, like everything else.
 * Bound: goes on without an operator's hand.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

const mounted = mountTmpfs();

test.skipIf(mounted === null)(
  "a full disk stops truth and loses nothing (needs to mount)",
  patience(1),
  async ({ task }) => {
    const dir = mounted ?? "";
    const recorder = new Recorder();
    const scene = await Scene.open({ channels: 2, truth: { dir } });
    const { truthServer } = scene.platform;
    const filler = join(dir, "filler");
    try {
      for (const channel of scene.channels) scene.say("before", channel);
      await scene.settled();
      for (let round = 0; round < rounds(1); round++) {
        fill(filler);
        for (const channel of scene.channels) scene.say(`while full ${round}`, channel);
        await scene.until(() => !truthServer.running, "the end of the truth Redis");
        rmSync(filler);
        await truthServer.restart();
        const upMs = performance.now();
        await scene.settled();
        recorder.add("disk full and free again: answered", 5_000, performance.now() - upMs);
      }
      await check(scene);
      expect(truthServer.running).toBe(true);
    } finally {
      await scene.close();
      await sleep(0);
      execFileSync("umount", [dir]);
      rmSync(dir, { recursive: true });
    }
    recorder.save(task);
  },
);

/** Null where we may not. */
function mountTmpfs(): string | null {
  const directory = mkdtempSync(join(tmpdir(), "eyrie-disk-"));
  try {
    const options = ["-t", "tmpfs", "-o", "size=16m", "tmpfs", directory];
    execFileSync("mount", options, { stdio: "ignore" });
    return directory;
  } catch {
    rmSync(directory, { recursive: true });
    return null;
  }
}

/** Writes until nothing goes in any more. */
function fill(path: string): void {
  for (let size = 1 << 20; size > 0; size >>= 1) {
    try {
      for (;;) writeFileSync(path, Buffer.alloc(size), { flag: "a" });
    } catch {
      // Smaller pieces may still go in.
    }
  }
}
