import fc from "fast-check";
import { expect, test } from "vitest";
import { addFrame, emptyView, type LiveView } from "#infra/live/view.ts";
import { type LiveFrame, turnId } from "#infra/turn/index.ts";

type TextFrame = LiveFrame & { kind: "text" };

function frame(fence: number, at: number, text: string): TextFrame {
  const tokens = at + text.length;
  return { kind: "text", turn: turnId("1"), attempt: 0, fence, at, text, tokens };
}

function texts(frames: readonly TextFrame[]): string {
  return frames.reduce<LiveView>(addFrame, emptyView).text;
}

test("frames add up to the reply", () => {
  expect(texts([frame(1, 0, "Hel"), frame(1, 3, "lo"), frame(1, 0, "Hello you")])).toBe(
    "Hello you",
  );
});

test("a frame after a gap changes nothing until one closes it", () => {
  expect(texts([frame(1, 0, "ab"), frame(1, 5, "fg")])).toBe("ab");
  expect(texts([frame(1, 0, "ab"), frame(1, 5, "fg"), frame(1, 1, "bcdefg")])).toBe("abcdefg");
});

test("a newer fence starts anew, an older one is not heard any more", () => {
  expect(texts([frame(1, 0, "old words"), frame(2, 0, "new")])).toBe("new");
  expect(texts([frame(2, 0, "new"), frame(1, 0, "old words")])).toBe("new");
});

test("a successor that says the same takes nothing back, and goes on", () => {
  const seen = [frame(1, 0, "old words")];
  expect(texts([...seen, frame(2, 0, "old")])).toBe("old words");
  expect(texts([...seen, frame(2, 0, "old"), frame(1, 0, "old words and no more")])).toBe(
    "old words",
  );
  expect(texts([...seen, frame(2, 0, "old"), frame(2, 3, " words, new")])).toBe("old words, new");
  expect(texts([...seen, frame(2, 0, "old"), frame(2, 0, "old wood")])).toBe("old wood");
});

test("whatever is lost, repeated or reordered, the view is a prefix of the reply", () => {
  const reply = "The quick brown fox jumps over the lazy dog.";
  const frames = fc.array(
    fc.tuple(fc.nat(reply.length), fc.nat(reply.length)).map(([a, b]) => {
      const [at, end] = a < b ? [a, b] : [b, a];
      return frame(1, at, reply.slice(at, end));
    }),
  );
  fc.assert(
    fc.property(frames, (all) => {
      expect(reply.startsWith(texts(all))).toBe(true);
    }),
  );
});
