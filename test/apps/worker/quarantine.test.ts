/** Who runs beside whom after workers have died. */
import { expect, test } from "vitest";
import { Quarantine } from "#apps/worker/turnloop/quarantine.ts";

/** Lets everybody go as far as they can. */
async function settle(): Promise<void> {
  for (let turns = 0; turns < 10; turns++) await Promise.resolve();
}

function stage() {
  const quarantine = new Quarantine();
  const inside = new Map<string, () => void>();
  return {
    inside: () => [...inside.keys()],
    come: (name: string, alone = false): void => {
      void quarantine.enter({ alone }).then((leave) => inside.set(name, leave));
    },
    go: (name: string): void => {
      inside.get(name)?.();
      inside.delete(name);
    },
  };
}

test("ordinary turns run together", async () => {
  const { come, inside } = stage();
  for (const name of ["a", "b", "c"]) come(name);
  await settle();
  expect(inside()).toEqual(["a", "b", "c"]);
});

test("a suspect waits until it is alone, and nobody joins it or overtakes it", async () => {
  const { come, go, inside } = stage();
  come("a");
  come("b");
  come("suspect", true);
  come("late");
  await settle();
  expect(inside()).toEqual(["a", "b"]);
  go("a");
  await settle();
  expect(inside()).toEqual(["b"]);
  go("b");
  await settle();
  expect(inside()).toEqual(["suspect"]);
  go("suspect");
  await settle();
  expect(inside()).toEqual(["late"]);
});

test("suspects run one by one", async () => {
  const { come, go, inside } = stage();
  come("first", true);
  come("second", true);
  await settle();
  expect(inside()).toEqual(["first"]);
  go("first");
  await settle();
  expect(inside()).toEqual(["second"]);
});
