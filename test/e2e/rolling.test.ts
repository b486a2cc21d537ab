/** A deploy under live streams, in small; see rolling.ts. The hundred streams are in test/long. */
import { expect, test } from "vitest";
import { runRolling } from "./rolling.ts";

test("two workers and the gateway are replaced under live streams, and nobody notices", async () => {
  const model = { layers: 6, heads: 6 };
  const figures = await runRolling({ streams: 8, model });
  expect(figures).toMatchObject({ streams: 8, lost: 0, duplicates: 0 });
  expect(figures.handedOver).toBeGreaterThan(0);
}, 300_000);
