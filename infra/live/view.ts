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
 * frames after a gap change nothing. A newer fence starts the picture anew, unless it begins with what
 * is seen already: then a successor says the same, and nothing is taken back while it catches up.
 */
export function addFrame(view: LiveView, frame: LiveFrame & { kind: "text" }): LiveView {
  const { at, fence, text, tokens } = frame;
  if (fence < view.fence) return view;
  const newer = fence > view.fence;
  if (!newer && tokens < view.tokens) return view;
  if (view.text.startsWith(text, at) && (!newer || at === 0)) {
    return newer ? { fence, text: view.text, tokens } : view;
  }
  const before = newer ? "" : view.text;
  if (at > before.length) return view;
  return { fence, text: before.slice(0, at) + text, tokens };
}
