/** Who may be answered beside whom. */
import { expect, test } from "vitest";
import { Gate } from "#apps/worker/turnloop/gate.ts";

/** Goes in and notes it; returns how to leave again. */
async function visit(gate: Gate, name: string, seen: string[]): Promise<() => void> {
  const leave = await gate.enter({ alone: name.startsWith("alone") });
  seen.push(name);
  return leave;
}

const settled = async (): Promise<void> => new Promise((done) => setImmediate(done));

test("many side by side, one alone, in the order they came", async () => {
  const gate = new Gate();
  const seen: string[] = [];
  const a = await visit(gate, "a", seen);
  const b = await visit(gate, "b", seen);
  const alone = visit(gate, "alone 1", seen);
  const second = visit(gate, "alone 2", seen);
  const late = [visit(gate, "c", seen), visit(gate, "d", seen)];
  a();
  await settled();
  expect(seen).toEqual(["a", "b"]);
  b();
  await settled();
  expect(seen).toEqual(["a", "b", "alone 1"]);
  (await alone)();
  await settled();
  expect(seen).toEqual(["a", "b", "alone 1", "alone 2"]);
  (await second)();
  for (const leave of await Promise.all(late)) leave();
  expect(seen.slice(4)).toEqual(["c", "d"]);
  await visit(gate, "alone 3", seen);
  expect(seen.at(-1)).toBe("alone 3");
});
