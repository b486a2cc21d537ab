/** A hundred thousand turns on real processes while everything dies, again and again. */
import { expect, test } from "vitest";
import { endure } from "#test/faults/endure.ts";

const turns = 100_000;
const hoursMax = 4;

test(
  `${turns} turns under random faults: none lost, doubled, out of order or mixed up`,
  {
    timeout: hoursMax * 3_600_000,
  },
  async ({ task }) => {
    const { findings, ...figures } = await endure({
      turns,
      seed: 5,
      turnsPerSecond: 30,
      channels: 200,
      faultEveryMs: 8_000,
      lifted: true,
      onProgress: console.log,
    });
    Object.assign(task.meta, { figures });
    expect(findings).toEqual([]);
    expect(figures).toMatchObject({ lost: 0, duplicated: 0, reordered: 0, crossed: 0 });
    expect(figures.turns + figures.failed).toBeGreaterThanOrEqual(turns);
  },
);
