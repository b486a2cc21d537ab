import { describe, expect, test } from "vitest";
import { editIntervalMs, Pacer } from "#apps/gateway/render/pacer.ts";
import { VirtualClock } from "./virtual-clock.ts";

const nobody = new AbortController().signal;

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
      await pacer.edit(channel, nobody);
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

  test("a request that did not wait counts all the same", async () => {
    const { clock, pacer, went } = desk();
    pacer.note("c");
    went("c", pacer.edit("c", nobody));
    went("other", pacer.edit("other", nobody));
    await clock.pass(2_000);
    expect(went.times).toEqual({ other: 0, c: 1_200 });
  });

  test("a quiet channel is forgotten and starts at once", async () => {
    const { clock, pacer, went } = desk();
    void pacer.edit("c", nobody);
    await clock.pass(5_000);
    expect(pacer.pace().size).toBe(1);
    await clock.pass(30_000);
    pacer.sweep();
    expect(pacer.pace().size).toBe(0);
    went("c", pacer.edit("c", nobody));
    await clock.pass(1);
    expect(went.times).toEqual({ c: 35_000 });
  });

  test("a turn that was given up is as good as not taken", async () => {
    const { clock, pacer, went } = desk();
    pacer.note("c");
    const hurried = new AbortController();
    const gaveUp = pacer.edit("c", hurried.signal);
    await clock.pass(600);
    hurried.abort();
    expect(await gaveUp).toBe(false);
    went("c", pacer.edit("c", nobody));
    await clock.pass(5_000);
    expect(went.times).toEqual({ c: 1_200 });
  });

  test("however long a channel was quiet, its next edits keep their distance", async () => {
    const { clock, pacer } = desk();
    pacer.note("c");
    await clock.pass(10_000);
    const times: number[] = [];
    for (let edit = 0; edit < 3; edit++) {
      void pacer.edit("c", nobody).then(() => times.push(clock.monotonicMs()));
    }
    await clock.pass(10_000);
    expect(times).toEqual([10_000, 11_200, 12_400]);
  });

  test("is kept by the process that takes over: who is due longest goes first", async () => {
    const before = desk(100);
    for (const channel of ["a", "b", "c"]) {
      before.pacer.note(channel);
      await before.clock.pass(500);
    }
    const { clock, pacer, went } = desk(100);
    await clock.pass(10_000);
    const passedMs = clock.nowMs() - before.clock.nowMs() - 5_000;
    const left = [...before.pacer.pace()];
    pacer.keepPace(new Map(left.map(([channel, dueMs]) => [channel, dueMs + passedMs])));
    // All are overdue, and there is room for one after the other.
    for (let index = 0; index < 4; index++) pacer.note(`urgent ${index}`);
    for (const channel of ["c", "new", "b", "a"]) went(channel, pacer.edit(channel, nobody));
    await clock.pass(200);
    const order = Object.entries(went.times).toSorted(([, one], [, other]) => one - other);
    expect(order.map(([channel]) => channel)).toEqual(["a", "b", "c", "new"]);
  });
});

describe("room", () => {
  test("is what requests that cannot wait leave of 36 a second", async () => {
    const { clock, pacer, went } = desk();
    for (let index = 0; index < 40; index++) pacer.note(`urgent ${index}`);
    went("placeholder", pacer.room(nobody));
    went("edit", pacer.edit("c", nobody));
    await clock.pass(2_000);
    // 40 have their time in 1,111 ms, of which three requests may be ahead.
    expect(went.times).toEqual({ placeholder: 1_028, edit: 1_056 });
  });

  test("is not waited for by first words, and they count", async () => {
    const { clock, pacer, went } = desk();
    for (let index = 0; index < 36; index++)
      went(`words ${index}`, pacer.firstWords(`c${index}`, nobody));
    went("edit", pacer.edit("c", nobody));
    await clock.pass(2_000);
    expect(Object.values(went.times).slice(0, 36)).toEqual(Array.from({ length: 36 }, () => 0));
    expect(went.times).toMatchObject({ edit: 917 });
  });

  test("first words wait for their channel a second, however many replies stream", async () => {
    const { clock, pacer, went } = desk(200);
    pacer.note("c");
    went("words", pacer.firstWords("c", nobody));
    pacer.note("d");
    went("edit", pacer.edit("d", nobody));
    await clock.pass(10_000);
    expect(went.times).toEqual({ words: 1_200, edit: 6_250 });
  });

  test("goes to who asked first; who gives up leaves the line and counts for nothing", async () => {
    const { clock, pacer, went } = desk();
    const hurried = new AbortController();
    for (let index = 0; index < 8; index++) {
      went(`${index}`, pacer.room(index === 5 ? hurried.signal : nobody));
    }
    await clock.pass(10);
    hurried.abort();
    await clock.pass(2_000);
    expect(
      Object.entries(went.times)
        .map(([name]) => name)
        .toSorted(),
    ).toEqual(["0", "1", "2", "3", "4", "6", "7"]);
    expect(went.times).toMatchObject({ 3: 0, 4: 28, 6: 56, 7: 84 });
    expect(await pacer.room(hurried.signal)).toBe(false);
  });
});

/** A pacer and when those that waited went, ms. */
function desk(streams = 1): {
  readonly clock: VirtualClock;
  readonly pacer: Pacer;
  readonly went: ((name: string, turn: Promise<boolean>) => void) & {
    times: Record<string, number>;
  };
} {
  const clock = new VirtualClock();
  const pacer = new Pacer({ clock, streams: () => streams });
  const times: Record<string, number> = {};
  const went = (name: string, turn: Promise<boolean>): void => {
    void turn.then((came) => {
      if (came) times[name] = Math.ceil(clock.monotonicMs());
    });
  };
  return { clock, pacer, went: Object.assign(went, { times }) };
}
