/** `eyrie keys …` and a whole platform that runs with them: worker, terminal, both Redis. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import { TestPlatform } from "#test/platform/platform.ts";
import { everything } from "../../infra/conversation/workshop.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

const directory = mkdtempSync(join(tmpdir(), "eyrie-keys-"));
const file = join(directory, "keys");
const id = aConversation("vault");
let platform: TestPlatform;

beforeAll(async () => {
  expect((await eyrie(["keys", "new", "--file", file])).code).toBe(0);
  platform = await TestPlatform.start({ keys: file });
  // A snapshot after every turn: the states are searched, too.
  await platform.worker({ EYRIE_STATE_CODEC: "f32" });
});

afterAll(async () => {
  await platform.stop();
  rmSync(directory, { recursive: true });
});

function run(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return eyrie(args, { environment: { ...platform.environment, ...environment } });
}

async function json(args: readonly string[]): Promise<Record<string, unknown>> {
  const outcome = await run([...args, "--json"]);
  expect(outcome.code, outcome.err).toBe(0);
  return JSON.parse(outcome.out) as Record<string, unknown>;
}

async function inClear(...words: readonly string[]): Promise<string[]> {
  const lines = [...(await everything(platform.truth)), ...(await everything(platform.state))];
  return words.filter((word) => lines.some((line) => line.includes(word)));
}

test("a worker and a terminal talk over a platform on which nothing can be read", async () => {
  const said = "Who are you, and what do you keep of this?";
  const first = await platform.exchange(aTurn(1, { conversation: id, text: said }));
  const second = await run(["chat", "--conversation", "vault", "--once", "What can you do?"]);
  expect(second.code, second.err).toBe(0);
  expect(await inClear(said, first.text, "What can you do?", second.out.trim())).toEqual([]);
  expect(JSON.stringify(await json(["conversation", "export", id]))).toContain(said);
  const { keys, plain } = await json(["keys", "status"]);
  const [{ records, role }] = keys as [{ records: number; role: string }];
  expect({ plain, role }).toEqual({ plain: 0, role: "first" });
  expect(records).toBeGreaterThan(6);
});

test("rotation, as the texts tell it: a new key, a restart, rotate, and the old one may go", async () => {
  const [old = ""] = KeyRing.parse(file).ids;
  expect((await run(["keys", "new", "--file", file])).out).toContain("eyrie keys rotate");
  const fresh = KeyRing.parse(file).primary;
  await platform.worker();
  const rotated = await run(["keys", "rotate"], { EYRIE_LOCALE: "de" });
  expect(rotated.out).toMatch(/^Neu verschlüsselt: \d+ Datensätze\./);
  expect(rotated.out).toContain(old);
  const status = await json(["keys", "status"]);
  expect(status["keys"]).toMatchObject([
    { id: fresh, role: "first" },
    { id: old, role: "older", records: 0, inUse: false },
  ]);
  const text = readFileSync(file, "utf8").split("\n")[0] ?? "";
  const inspected = await run(["conversation", "inspect", id], { EYRIE_KEYS: text });
  expect(inspected.code, inspected.err).toBe(0);
});

test("the wrong keys, none, and none in production are refused by name", async () => {
  const wrong = await run(["conversation", "export", id], { EYRIE_KEYS: newKey() });
  expect(errorLines(wrong)).toEqual([expect.stringMatching(/^KEY_MISSING: .*eyrie keys forget/)]);
  const none = await run(["chat", "--once", "hi"], { EYRIE_KEYS: "" });
  expect(errorLines(none)).toEqual([expect.stringMatching(/^KEY_MISSING: /)]);
  const typed = await run(["keys", "status"], { EYRIE_KEYS: "eyrie1.nonsense" });
  expect(errorLines(typed)).toEqual([expect.stringMatching(/^KEYS_INVALID: .*entry 1/)]);
  const production = { EYRIE_PROFILE: "production", EYRIE_KEYS: "" };
  const refused = await run(["start", "--only", "worker"], production);
  expect(errorLines(refused)).toEqual([expect.stringMatching(/^KEYS_REQUIRED: .*keys new/)]);
});

test("a key that is held is rotated and not forgotten; a lost one takes its conversations", async () => {
  const [held = ""] = KeyRing.parse(file).ids;
  expect((await run(["keys", "forget", held, "--yes"])).code).toBe(2);
  const lost = await run(["keys", "forget", held, "--yes", "--json"], { EYRIE_KEYS: newKey() });
  expect(JSON.parse(lost.out)).toEqual({ key: held, conversations: [id] });
  expect(await inClear(id)).toEqual([]);
});

test("without a file, a key is printed and nothing else", async () => {
  const { out } = await eyrie(["keys", "new"]);
  expect(KeyRing.parse(out).ids).toHaveLength(1);
  expect(out.split("\n")).toHaveLength(2);
});
