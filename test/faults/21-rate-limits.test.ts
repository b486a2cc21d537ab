/**
 * Fault: Discord answers with 429s of every kind in a storm, on top of its ordinary limits.
 * Expected: each bucket waits, a global limit stops everything, edits become fewer instead of late,
 *   nothing is tried again early.
 * Invariant: every reply stands there in the end, once.
 * Bound: at most 100 invalid requests in 10 minutes.
 */
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { patience, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";

const channels = 4;
const invalidMax = 100;

test("a storm of 429s delays replies and loses none", patience(1), async () => {
  // Discord's ordinary limits.
  const scene = await Scene.open({ channels, double: { rateLimits: {} } });
  const { restFaults } = scene.double;
  try {
    for (let round = 0; round < rounds(1); round++) {
      const storm = { times: 8, chance: 0.5 };
      for (const scope of ["user", "shared"] as const) {
        restFaults.next("*", { kind: "rate-limit", scope, retryAfterMs: 300 }, storm);
      }
      restFaults.next(
        "*",
        { kind: "rate-limit", scope: "global", retryAfterMs: 500 },
        { times: 2 },
      );
      const bare = { kind: "rate-limit", headers: false, retryAfterMs: 400 } as const;
      restFaults.next("*", bare, { times: 2, chance: 0.3 });
      for (const channel of scene.channels) {
        scene.say(`patience ${round} [words=40] [ms=50]`, channel);
        scene.say(`more patience ${round}`, channel);
      }
      await scene.settled();
    }
    await check(scene);
    const { invalidRequests, rateLimited } = scene.double.counters();
    expect(rateLimited).toBeGreaterThan(0);
    expect(invalidRequests).toBeLessThanOrEqual(invalidMax * rounds(1));
  } finally {
    await scene.close();
  }
});
