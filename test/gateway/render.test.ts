import { expect, test } from "vitest";
import { Pacer } from "#apps/gateway/render/pacer.ts";
import { Render } from "#apps/gateway/render/render.ts";
import type { ReplyTexts } from "#apps/gateway/render/texts.ts";
import { openReplyOf } from "#infra/discord/open-replies.ts";
import type { FrameListener } from "#infra/live/live.ts";
import type { ReplyRecord } from "#infra/turn/index.ts";
import { aTurn } from "../infra/turns.ts";
import { VirtualClock } from "./virtual-clock.ts";

const turn = aTurn(1, { origin: { kind: "discord-message", channelId: "5", messageId: "1" } });
const key = { turn: turn.id, attempt: turn.attempt };
const texts = { thinking: "…", empty: "", stopped: "", row: () => [] } as unknown as ReplyTexts;

/** A render of {@link turn} whose ledger answers when the test says so. */
function desk(): {
  clock: VirtualClock;
  shown: string[];
  looks: ((record: ReplyRecord | null) => void)[];
  tell: FrameListener;
  render: Render;
} {
  const clock = new VirtualClock();
  const shown: string[] = [];
  const looks: ((record: ReplyRecord | null) => void)[] = [];
  const listeners: FrameListener[] = [];
  const show = async (content: string): Promise<void> => void shown.push(content);
  const count = { inc: () => undefined };
  const parts = {
    carrier: {
      channelId: "5",
      post: async (_index: number, _first: unknown, body: { content: string }) => {
        await show(body.content);
        return { messageId: "2", content: body.content, hasButtons: false };
      },
      edit: async (_index: number, _id: string, body: { content: string }) => show(body.content),
    },
    texts: () => texts,
    ledger: {
      reply: async () => new Promise<ReplyRecord | null>((resolve) => looks.push(resolve)),
      notePart: async () => undefined,
    },
    replication: { confirms: async () => true },
    mailbox: { waiting: async () => [turn] },
    live: {
      subscribe: async (_: unknown, listener: FrameListener) => {
        listeners.push(listener);
        return async () => undefined;
      },
    },
    pacer: new Pacer({ clock, streams: () => 1 }),
    tail: { has: () => false, forget: () => undefined },
    clock,
    log: { warn: () => undefined },
    metrics: { requests: count, requestsFailed: count, frames: count },
  };
  const render = new Render(
    openReplyOf(turn),
    parts as unknown as ConstructorParameters<typeof Render>[1],
  );
  return { clock, shown, looks, tell: (frame) => listeners.forEach((one) => one(frame)), render };
}

test("a reply that is finished behind a look at the ledger is looked for again", async () => {
  const { clock, looks, render, shown, tell } = desk();
  const ended = render.run({ adopted: false, again: false });
  await clock.pass(1_000);
  expect(shown).toEqual(["…"]);
  render.lookAgain();
  await clock.pass(0);
  expect(looks).toHaveLength(1);
  // Read before the commit, answered after the worker told of it.
  tell({ kind: "done", ...key });
  looks[0]?.(null);
  await clock.pass(0);
  expect(looks).toHaveLength(2);
  looks[1]?.({ status: "committed", end: "stop", text: "Here.", code: null } as ReplyRecord);
  await clock.pass(2_000);
  expect(shown.at(-1)).toBe("Here.");
  expect(await ended).toBe("delivered");
});
