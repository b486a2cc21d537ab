/** A hundred live streams through a deploy: two workers and the gateway, one after the other. */
import { expect, test } from "vitest";
import { runRolling } from "#test/e2e/rolling.ts";

test("100 live streams: none lost, none doubled", { timeout: 900_000 }, async ({ task }) => {
  const model = { layers: 4, heads: 4 };
  const figures = await runRolling({ streams: 100, model });
  expect(figures).toMatchObject({ streams: 100, lost: 0, duplicates: 0 });
  expect(figures.handedOver).toBeGreaterThan(90);
  Object.assign(task.meta, { figures });
});
