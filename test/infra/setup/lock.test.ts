/** The lock that holds without a server: taken over from the dead, left alone by who lost it. */
import { existsSync, mkdtempSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { withLock } from "#infra/setup/lock.mjs";

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-lock-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

test("who lost it to another does not give away the other's", async () => {
  const path = join(directory, "lock");
  const first = Promise.withResolvers<void>();
  const held = withLock(path, () => first.promise);
  utimesSync(path, new Date(0), new Date(0));
  await withLock(path, async () => {
    first.resolve();
    await held;
    expect(existsSync(path)).toBe(true);
  });
  expect(existsSync(path)).toBe(false);
});
