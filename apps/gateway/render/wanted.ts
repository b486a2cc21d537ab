/**
 * What a reply's messages should say, and the one request that brings Discord closer to it. Pure.
 *
 * There is no queue of edits: after each request the next step is computed from what is wanted by
 * then, so an edit that has become stale is never sent.
 */
import { contentOf, splitReply } from "./split.ts";

export interface WantedPart {
  readonly content: string;
  readonly stoppable: boolean;
}

/** A part in Discord; `content` is null when another process wrote it and we do not know what. */
export interface ShownPart {
  readonly messageId: string;
  readonly content: string | null;
  readonly stoppable: boolean;
}

export type Step =
  | { readonly kind: "post"; readonly index: number; readonly part: WantedPart }
  | { readonly kind: "edit"; readonly index: number; readonly part: WantedPart }
  | { readonly kind: "remove"; readonly index: number };

/** Stands behind text that is still growing. */
const cursor = " ▌";

/** An unfinished reply: the text so far, or `thinking` before its first word. */
export function wantedLive(text: string, thinking: string): WantedPart[] {
  const contents = text.trim() === "" ? [thinking] : contentsOf(text.trimEnd() + cursor);
  return contents.map((content, index) => ({ content, stoppable: index === contents.length - 1 }));
}

/** A finished reply, or `instead` when it has no words. */
export function wantedFinal(text: string, instead: string): WantedPart[] {
  const contents = text.trim() === "" ? [instead] : contentsOf(text);
  return contents.map((content) => ({ content, stoppable: false }));
}

/** Discord refuses a message of blanks. */
function contentsOf(text: string): string[] {
  return splitReply(text)
    .map(contentOf)
    .filter((content) => content.trim() !== "");
}

/** Null when Discord shows what is wanted. Surplus messages go only once the reply is final. */
export function nextStep(
  shown: readonly ShownPart[],
  wanted: readonly WantedPart[],
  final: boolean,
): Step | null {
  for (const [index, part] of wanted.entries()) {
    const now = shown[index];
    if (now === undefined) return { kind: "post", index, part };
    if (now.content !== part.content || now.stoppable !== part.stoppable) {
      return { kind: "edit", index, part };
    }
  }
  const surplus = final && shown.length > wanted.length;
  return surplus ? { kind: "remove", index: shown.length - 1 } : null;
}
