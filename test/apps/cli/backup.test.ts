/** `eyrie backup` and `eyrie restore` of a running platform: lost, put back, and answered as a twin. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newKey } from "#infra/redis/keyring.ts";
import { ask, talk } from "#test/platform/dialogue.ts";
import { TestPlatform } from "#test/platform/platform.ts";
import { aConversation } from "../../infra/turns.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

const directory = mkdtempSync(join(tmpdir(), "eyrie-backup-"));
const file = join(directory, "nest.eyrie");
const [one, twin] = [aConversation("one"), aConversation("twin")];
let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start({ keys: newKey() });
});

afterAll(async () => {
  await platform.stop();
  rmSync(directory, { recursive: true });
});

function run(args: readonly string[], locale = "en-US"): Promise<Outcome> {
  return eyrie(args, { environment: { ...platform.environment, EYRIE_LOCALE: locale } });
}

test("a conversation that was lost and put back says what its twin says", async () => {
  const worker = await platform.worker();
  expect(await talk(platform, one, { ids: [1, 2, 3] })).toEqual(
    await talk(platform, twin, { ids: [1, 2, 3] }),
  );
  const busy = platform.exchange(ask(aConversation("busy"), 9));
  const taken = await run(["backup", file], "de");
  expect(taken.code, taken.err).toBe(0);
  expect(taken.out).toMatch(/3 Gespräche|2 Gespräche/);
  await busy;
  // The worker saves what it holds and goes; the twin stays as it is.
  expect(await worker.end()).toBe(0);
  const restored = async (...more: string[]): Promise<Outcome> => run(["restore", file, ...more]);
  const conflict = await restored();
  expect(errorLines(conflict)).toEqual([expect.stringMatching(/^RESTORE_CONFLICT: .*--replace/)]);
  expect(conflict.code).toBe(1);
  await platform.conversations.delete(one);
  expect((await restored("--replace", "--yes", "--json")).code).toBe(0);
  await platform.worker();
  expect(await talk(platform, one, { ids: [4, 5] })).toEqual(
    await talk(platform, twin, { ids: [4, 5] }),
  );
});

test("what cannot be restored, and where nothing can be written, is said by name", async () => {
  const bytes = readFileSync(file);
  const bad = join(directory, "bad");
  writeFileSync(bad, bytes.subarray(0, -3));
  expect(errorLines(await run(["restore", bad]))).toEqual([
    expect.stringMatching(/^BACKUP_UNREADABLE: .*cut off/),
  ]);
  expect(errorLines(await run(["backup", file]))).toEqual([
    expect.stringMatching(/^BACKUP_EXISTS: .*--force/),
  ]);
  expect((await run(["backup", file, "--force", "--json"])).code).toBe(0);
});
