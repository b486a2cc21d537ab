/** The load is what was planned, whoever answers how; and figures follow from what was counted. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isTooFast, verdicts, type WorkloadFigures } from "#apps/cli/bench/platform.ts";
import { seededRandom } from "#test/doubles/discord/faults.ts";
import {
  type Arrival,
  burst,
  crowd,
  inOrder,
  poisson,
  roundRobin,
  steady,
  streams,
} from "./arrivals.ts";
import { generate } from "./generator.ts";
import { bucketQuantile, counted, parsePage, quantile, quantiles } from "./statistics.ts";
import { workloads } from "./workloads.ts";

const minute = { fromMs: 0, toMs: 60_000 };

describe("arrivals", () => {
  test("a Poisson process has its rate, its spread, and its seed", () => {
    const moments = poisson(100, { fromMs: 0, toMs: 1_000_000 }, seededRandom(7));
    expect(moments).toEqual(poisson(100, { fromMs: 0, toMs: 1_000_000 }, seededRandom(7)));
    expect(moments).not.toEqual(poisson(100, { fromMs: 0, toMs: 1_000_000 }, seededRandom(8)));
    // 100,000 are expected; four standard deviations are 1.3 %.
    expect(Math.abs(moments.length / 100_000 - 1)).toBeLessThan(0.013);
    const gaps = moments.slice(1).map((atMs, index) => atMs - moments[index]!);
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    // Of an exponential distribution mean and standard deviation are equal; of a steady beat it is 0.
    expect(Math.abs(Math.sqrt(variance) / mean - 1)).toBeLessThan(0.03);
    const longer = gaps.filter((gap) => gap > mean).length / gaps.length;
    expect(Math.abs(longer - Math.exp(-1))).toBeLessThan(0.01);
  });

  test("stay within their span, in order", () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 500 }), (seed, perSecond) => {
        const span = { fromMs: 500, toMs: 3_000 };
        const moments = poisson(perSecond, span, seededRandom(seed));
        expect(moments.every((atMs) => atMs > 500 && atMs < 3_000)).toBe(true);
        expect(moments).toEqual(moments.toSorted((a, b) => a - b));
      }),
    );
  });

  test("every channel is asked as often as the others, and as late as can be", () => {
    const channelOf = roundRobin(50, seededRandom(3));
    const first = Array.from({ length: 50 }, (_, index) => channelOf(index));
    expect(new Set(first).size).toBe(50);
    expect(first).not.toEqual(first.toSorted((a, b) => a - b));
    expect(first).toEqual(Array.from({ length: 50 }, (_, index) => channelOf(index + 50)));
  });

  test("streams ask on their own beat, bursts at once, crowds in one place", () => {
    const beats = streams({ channels: 3, periodMs: 10_000 }, minute, 1);
    expect(beats).toHaveLength(18);
    const ofOne = beats.filter(({ channel }) => channel === 1).map(({ atMs }) => atMs);
    expect(ofOne.slice(1).map((atMs, index) => Math.round(atMs - ofOne[index]!))).toEqual([
      10_000, 10_000, 10_000, 10_000, 10_000,
    ]);
    const all = burst(100, { fromMs: 1_000, toMs: 2_000 });
    expect(new Set(all.map(({ channel }) => channel)).size).toBe(100);
    expect(all.at(-1)?.atMs).toBe(1_990);
    const people = crowd({ users: 5, perSecond: 50, kind: "refused" }, minute, 1);
    expect(new Set(people.map(({ channel, group }) => `${group} ${channel}`))).toEqual(
      new Set(["crowd 0"]),
    );
    expect(new Set(people.map(({ user }) => user)).size).toBe(5);
  });

  test.each(Object.entries(workloads))("%s: levels with a warm-up, in order", (_, workload) => {
    for (const { arrivals, warmMs, endMs } of workload.levels(0.1, 1)) {
      expect(warmMs).toBeLessThan(endMs);
      expect(arrivals.some(({ atMs }) => atMs > warmMs)).toBe(true);
      expect(arrivals).toEqual(inOrder(arrivals));
      expect(arrivals.every(({ channel }) => channel < workload.channels)).toBe(true);
      expect(arrivals.every(({ user }) => user < workload.channels)).toBe(true);
    }
  });
});

/** Time that passes only while somebody sleeps, or is held up. */
function clock() {
  const state = { nowMs: 5_000 };
  return {
    state,
    nowMs: () => state.nowMs,
    sleep: async (ms: number) => {
      state.nowMs += ms;
    },
  };
}

describe("the generator", () => {
  const arrivals = steady({ channels: 4, perSecond: 20 }, { fromMs: 0, toMs: 2_000 }, 1);

  test("speaks at the planned moments and never waits", async () => {
    const { state, ...time } = clock();
    const said: number[] = [];
    const speak = ({ atMs }: Arrival, plannedMs: number): void => {
      expect(plannedMs).toBe(5_000 + atMs);
      said.push(state.nowMs);
    };
    const lateMs = await generate(arrivals, { ...time, speak });
    said.forEach((atMs, index) => expect(atMs).toBeCloseTo(5_000 + arrivals[index]!.atMs, 6));
    expect(Math.max(...lateMs)).toBeLessThan(1e-6);
  });

  test("held up, it says what is due at once, and counts from the planned moment", async () => {
    const { state, ...time } = clock();
    const said: number[] = [];
    const heldUpMs = 700;
    const speak = (_: Arrival, plannedMs: number): void => {
      if (said.length === 0) state.nowMs += heldUpMs;
      said.push(plannedMs);
    };
    const lateMs = await generate(arrivals, { ...time, speak });
    // None was left out or moved: the plan is what is measured from.
    expect(said).toEqual(arrivals.map(({ atMs }) => 5_000 + atMs));
    const [first, second] = arrivals;
    expect(lateMs[1]).toBeCloseTo(heldUpMs - (second!.atMs - first!.atMs), 6);
    const caughtUp = arrivals.findIndex(({ atMs }) => atMs > first!.atMs + heldUpMs);
    expect(lateMs.slice(caughtUp).every((ms) => ms < 1e-6)).toBe(true);
  });

  test("ends early when it is told to", async () => {
    const { state, ...time } = clock();
    const stop = new AbortController();
    const speak = (): void => {
      if (state.nowMs > 5_500) stop.abort();
    };
    await expect(generate(arrivals, { ...time, speak }, stop.signal)).rejects.toThrow("aborted");
  });
});

describe("statistics", () => {
  test("quantiles are samples, by nearest rank", () => {
    const samples = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(quantiles(samples)).toEqual({ count: 100, p50: 50, p95: 95, p99: 99, max: 100 });
    expect(quantiles([3])).toEqual({ count: 1, p50: 3, p95: 3, p99: 3, max: 3 });
    expect(quantiles([])).toBeNull();
    expect(quantile([1, 2], 0)).toBe(1);
  });

  const before = parsePage('a_total{end="stop"} 5\na_total{end="length"} 1\nab_total 9\n');
  const after = parsePage(
    [
      "# HELP a_total x",
      'a_total{end="stop"} 7',
      'a_total{end="length"} 1',
      'a_total{end="failed"} 3',
      "ab_total 99",
    ].join("\n"),
  );

  test("counters are counted between two pages, over all labels and processes", () => {
    expect(counted([{ before, after }], "a_total")).toBe(5);
    expect(
      counted(
        [
          { before, after },
          { before, after },
        ],
        "a_total",
      ),
    ).toBe(10);
    expect(counted([{ before, after }], 'a_total{end="stop"}')).toBe(2);
  });

  test("a histogram's quantile is never less than it was", () => {
    const zero = parsePage('h_bucket{le="0.1"} 4\nh_bucket{le="1"} 4\nh_bucket{le="+Inf"} 4\n');
    const some = parsePage(
      'h_bucket{le="0.1"} 103\nh_bucket{le="1"} 104\nh_bucket{le="+Inf"} 104\n',
    );
    const pages = [{ before: zero, after: some }];
    expect(bucketQuantile(pages, "h", 0.99)).toBe(0.1);
    expect(bucketQuantile(pages, "h", 1)).toBe(1);
    expect(bucketQuantile([{ before: some, after: some }], "h", 0.5)).toBeNull();
    const slow = parsePage('h_bucket{le="0.1"} 4\nh_bucket{le="1"} 4\nh_bucket{le="+Inf"} 5\n');
    expect(bucketQuantile([{ before: zero, after: slow }], "h", 0.5)).toBe(Infinity);
  });
});

function met(
  workload: WorkloadFigures["workload"],
  levels: readonly object[],
): Record<string, boolean> {
  const state = { stateBytes: 1, drainedBytes: 0, turns: 9, sharePerTurn: 0.05 };
  const figures = { workload, levels, state } as unknown as WorkloadFigures;
  return Object.fromEntries(verdicts(figures).map((verdict) => [verdict.goal, verdict.met]));
}

describe("verdicts", () => {
  const waits = { count: 9, p50: 1, p95: 2, p99: 3, max: 4 };
  const level = {
    name: "x",
    perSecond: 300,
    seconds: 10,
    asked: 9,
    answered: 9,
    wrong: 0,
    turnsPerSecond: 299,
    tokensPerSecond: 5_000,
    rowsPerStep: 3,
    noticedMs: waits,
    firstTextMs: waits,
    finalMs: waits,
    crowdFinalMs: null,
    claimedMs: { p50: 10, p99: 80 },
    commitMs: { p50: 2, p99: 20 },
    cpu: { gateway: 1, worker: 1, truth: 1, state: 1, model: 1, double: 1 },
    cpuUsPerToken: 41,
    cpuUsPerTurn: 700,
    commandsPerTurn: { truth: 1, state: 1 },
    requestsPerTurn: 2,
    refused: 0,
    rateLimited: 0,
    lateMs: waits,
    state: { writtenBytes: 1, readBytes: 1 },
  };
  test("each goal by its limit", () => {
    expect(met("L1", [level])).toEqual({
      "questions unanswered": true,
      "wrong replies": true,
      "append to claimed, p99": true,
      "commit, p99": false,
      "answers 429": true,
      "state moved a turn": true,
    });
    expect(met("tokens", [level])).toMatchObject({ tokens: false, "CPU a token": false });
    expect(met("L1", [{ ...level, wrong: 1 }])).toMatchObject({ "wrong replies": false });
    expect(met("L2", [{ ...level, answered: 8 }])).toMatchObject({ "questions unanswered": false });
    const crowded = { ...level, firstTextMs: { ...waits, p95: 2.5 } };
    expect(met("L4", [level, crowded])).toMatchObject({ "others' p95 rises": false });
    expect(met("L4", [level, level])).toMatchObject({ "others' p95 rises": true });
  });

  test("what was not measured is not met", () => {
    const unknown = { ...level, claimedMs: { p50: null, p99: null } };
    expect(met("L1", [unknown])).toMatchObject({ "append to claimed, p99": false });
  });

  test("a ramp counts the fastest level that it held", () => {
    const faster = { ...level, turnsPerSecond: 310 };
    const tooFast = { ...level, turnsPerSecond: 340, finalMs: { ...waits, p99: 1_500 } };
    expect(isTooFast(tooFast)).toBe(true);
    expect(isTooFast({ ...level, answered: 8 })).toBe(true);
    expect(met("turns", [level, tooFast])).toMatchObject({ turns: false });
    expect(met("turns", [level, faster, tooFast])).toMatchObject({ turns: true });
  });
});
