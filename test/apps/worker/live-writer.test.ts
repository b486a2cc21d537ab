import { expect, test } from "vitest";
import { LiveWriter } from "#apps/worker/turnloop/live-writer.ts";
import type { LivePublisher } from "#infra/live/live.ts";
import { addFrame, emptyView } from "#infra/live/view.ts";
import { conversationId, type LiveFrame, turnId } from "#infra/turn/index.ts";
import { VirtualClock } from "#test/gateway/virtual-clock.ts";

/** A reply that grows by a word every 20 ms for three seconds, beside others; its frames, with their ms. */
async function write(
  replies: number,
  readers: (ms: number) => number = () => 1,
): Promise<{ frames: (LiveFrame & { readonly ms: number })[]; text: string }> {
  const clock = new VirtualClock();
  const startMs = clock.monotonicMs();
  const frames: (LiveFrame & { readonly ms: number })[] = [];
  const publish = async (_: string, frame: LiveFrame): Promise<number> => {
    const ms = clock.monotonicMs() - startMs;
    frames.push({ ...frame, ms });
    return readers(ms);
  };
  const reply = { text: "", replyTokens: 0 };
  type Options = ConstructorParameters<typeof LiveWriter>[2];
  const writer = new LiveWriter(
    { publish } as unknown as LivePublisher,
    conversationId("channel-1"),
    {
      key: { turn: turnId("1"), attempt: 0 },
      fence: 1,
      reply: reply as Options["reply"],
      clock,
      mine: () => true,
      replies: () => replies,
    },
  );
  for (let word = 0; word < 150; word++) {
    reply.text += ` word${word}`;
    reply.replyTokens++;
    writer.progress();
    await clock.pass(20);
  }
  await clock.pass(1_000);
  writer.close({ done: true });
  return { frames, text: reply.text };
}

test.each([
  [1, 30],
  [20, 30],
  [100, 6],
  [200, 3],
  [4_000, 3],
])("beside %i replies it is told in about %i frames, and whole", async (replies, about) => {
  const { frames, text } = await write(replies);
  const texts = frames.filter((frame) => frame.kind === "text");
  // And the first word at once.
  expect(Math.abs(texts.length - about - 1)).toBeLessThanOrEqual(1);
  expect(texts.reduce(addFrame, emptyView).text).toBe(text);
  expect(texts[0]?.text).toBe(" word0");
  expect(frames.at(-1)?.kind).toBe("done");
});

test("who begins to listen is told all of it at once", async () => {
  const joinedMs = 1_250;
  const { frames } = await write(1, (ms) => (ms < joinedMs ? 0 : 1));
  const heard = frames.filter((frame) => frame.kind === "text" && frame.ms >= joinedMs);
  const starts = heard.map((frame) => (frame.kind === "text" && frame.at === 0 ? "whole" : "part"));
  expect(starts.slice(0, 3)).toEqual(["part", "whole", "part"]);
  expect(heard[1]?.ms).toBe(heard[0]?.ms);
});
