/** A reader's picture of a reply in progress, built from frames that may be missing or late. */
import type { LiveFrame } from "#infra/turn/index.ts";

export interface LiveView {
  readonly fence: number;
  readonly text: string;
  readonly tokens: number;
}

export const emptyView: LiveView = { fence: 0, text: "", tokens: 0 };

/**
 * Adds a text frame to the picture. Frames of an older fence (a worker that lost the turn) and
 * frames after a gap change nothing; a newer fence starts the picture anew.
 */
export function addFrame(view: LiveView, frame: LiveFrame & { kind: "text" }): LiveView {
  if (frame.fence < view.fence) return view;
  const before = frame.fence > view.fence ? "" : view.text;
  if (frame.at > before.length) return view;
  if (frame.fence === view.fence && frame.tokens < view.tokens) return view;
  return {
    fence: frame.fence,
    text: before.slice(0, frame.at) + frame.text,
    tokens: frame.tokens,
  };
}
