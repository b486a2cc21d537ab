import { describe, expect, test } from "vitest";
import { editIntervalMs, Pacer } from "#apps/gateway/render/pacer.ts";
import { VirtualClock } from "./virtual-clock.ts";

/** `streams` replies, each editing as often as the pacer lets it, for `ms`. */
async function stream(options: {
  streams: number;
  channels: number;
  ms: number;
}): Promise<{ atMs: number; channel: string }[]> {
  const clock = new VirtualClock();
  const pacer = new Pacer({ clock, streams: () => options.streams });
  const edits: { atMs: number; channel: string }[] = [];
  const reply = async (channel: string): Promise<void> => {
    while (clock.monotonicMs() < options.ms) {
      await clock.sleep(pacer.reserve(channel));
      edits.push({ atMs: clock.monotonicMs(), channel });
      // The request itself takes a moment.
      await clock.sleep(50);
    }
  };
  for (let index = 0; index < options.streams; index++) {
    void reply(`channel ${index % options.channels}`);
  }
  await clock.pass(options.ms);
  return edits;
}

describe("the pace of live edits", () => {
  test("is 1.2 s, and slower when many replies stream", () => {
    expect(editIntervalMs(1)).toBe(1_200);
    expect(editIntervalMs(38)).toBe(1_200);
    expect(editIntervalMs(100)).toBe(3_125);
    expect(editIntervalMs(200)).toBe(6_250);
  });

  test.each([1, 20, 100, 400])(
    "%i replies stay below 32 edits a second in all",
    async (streams) => {
      // All begin at once, so it is counted over whole intervals: 12.5 s with 400.
      const edits = await stream({ streams, channels: streams, ms: 72_500 });
      const after = edits.filter(({ atMs }) => atMs > 10_000);
      expect(after.length / 62.5).toBeLessThanOrEqual(34);
      expect(after.length).toBeGreaterThan(streams);
    },
  );

  test("replies in one channel share its budget and take turns", async () => {
    const edits = await stream({ streams: 4, channels: 1, ms: 12_000 });
    const gaps = edits.slice(1).map(({ atMs }, index) => atMs - (edits[index]?.atMs ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1_200);
    expect(edits.length).toBeGreaterThanOrEqual(9);
  });

  test("a request that did not wait counts all the same", () => {
    const pacer = new Pacer({ clock: new VirtualClock(), streams: () => 1 });
    pacer.note("c");
    expect(pacer.reserve("c")).toBe(1_200);
    expect(pacer.reserve("other")).toBe(0);
  });

  test("a quiet channel is forgotten and starts at once", async () => {
    const clock = new VirtualClock();
    const pacer = new Pacer({ clock, streams: () => 1 });
    pacer.reserve("c");
    await clock.pass(5_000);
    pacer.sweep();
    expect(pacer.reserve("c")).toBe(0);
  });
});
