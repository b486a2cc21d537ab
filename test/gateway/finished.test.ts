import type { REST } from "discord.js";
import { describe, expect, test } from "vitest";
import { Finished } from "#apps/gateway/render/finished.ts";
import { Pacer } from "#apps/gateway/render/pacer.ts";
import { conversationId } from "#infra/turn/index.ts";
import { VirtualClock } from "./virtual-clock.ts";

const nobody = new AbortController().signal;

/** A Discord that notes when which message lost its button. */
function desk(): { clock: VirtualClock; finished: Finished; taken: [number, string][] } {
  const clock = new VirtualClock();
  const taken: [number, string][] = [];
  const patch = async (route: string): Promise<void> => {
    taken.push([clock.monotonicMs(), route.slice(route.lastIndexOf("/") + 1)]);
  };
  const pacer = new Pacer({ clock, streams: () => 1 });
  const log = { debug: () => undefined };
  const parts = { rest: { patch } as unknown as REST, clock, log, pacer };
  const finished = new Finished(parts as unknown as ConstructorParameters<typeof Finished>[0]);
  return { clock, finished, taken };
}

describe("buttons of answers that are no longer the last", () => {
  test("go at once, and four a second when everybody asks", async () => {
    const { clock, finished, taken } = desk();
    const all = Array.from({ length: 25 }, (_, index) => conversationId(`channel-${index}`));
    for (const [index, conversation] of all.entries()) {
      finished.note(conversation, "1", String(index));
      void finished.strip(conversation, nobody);
    }
    await clock.pass(0);
    expect(taken).toEqual([[0, "0"]]);
    await clock.pass(10_000);
    expect(taken).toEqual(all.map((_, index) => [index * 250, String(index)]));
    finished.note(all[0]!, "1", "again");
    void finished.strip(all[0]!, nobody);
    await clock.pass(0);
    expect(taken.at(-1)).toEqual([10_000, "again"]);
  });

  test("stay where their place in the line is half a minute away, or the end is nearer", async () => {
    const { clock, finished, taken } = desk();
    const closing = new AbortController();
    for (let index = 0; index < 200; index++) {
      const conversation = conversationId(`channel-${index}`);
      finished.note(conversation, "1", String(index));
      void finished.strip(conversation, index === 20 ? closing.signal : nobody);
    }
    closing.abort();
    await clock.pass(60_000);
    expect(taken).toHaveLength(120);
    expect(taken.map(([, id]) => id)).not.toContain("20");
    expect(taken.at(-1)).toEqual([30_000, "120"]);
  });
});
