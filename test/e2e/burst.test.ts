/** The promise, end to end; see burst.ts. */
import { expect, test } from "vitest";
import { runBurst } from "./burst.ts";

test("200 replies survive a worker's death, each once, in order, equal to the ledger", async () => {
  const figures = await runBurst({
    channels: 20,
    messagesEach: 10,
    faults: [
      {
        atTurns: 90,
        strike: async ({ workers }) => {
          await workers[0]?.end("SIGKILL");
        },
      },
    ],
  });
  expect(figures.replies).toBe(200);
  // On a busy machine two edits may meet in one window: waited out, seen once in a dozen runs.
  expect(figures.rateLimited).toBeLessThan(3);
}, 180_000);
