/**
 * What a reply's messages should say, and the one request that brings Discord closer to it. Pure.
 *
 * There is no queue of edits: after each request the next step is computed from what is wanted by
 * then, so an edit that has become stale is never sent.
 */
import { contentOf, messageCharactersMax, splitReply } from "./split.ts";

/** Under the last part: Stop while it grows, Regenerate when it is finished. */
export type PartButton = "stop" | "again" | null;

export interface WantedPart {
  readonly content: string;
  readonly button: PartButton;
}

/** A part in Discord; `content` is null when another process wrote it and we do not know what. */
export interface ShownPart {
  readonly messageId: string;
  readonly content: string | null;
  readonly button: PartButton;
}

/** A part of which only the message is known. */
export function standing(messageId: string): ShownPart {
  return { messageId, content: null, button: null };
}

export type Step =
  | { readonly kind: "post"; readonly index: number; readonly part: WantedPart }
  | { readonly kind: "edit"; readonly index: number; readonly part: WantedPart }
  | { readonly kind: "remove"; readonly index: number };

/** Stands behind text that is still growing. */
const cursor = " ▌";

/** An unfinished reply: the text so far, or `thinking` before its first word; `partsMax` fit. */
export function wantedLive(
  text: string,
  thinking: string,
  partsMax: number = Infinity,
): WantedPart[] {
  const contents = text.trim() === "" ? [thinking] : contentsOf(text.trimEnd() + cursor);
  return withButton(contents.slice(0, partsMax), "stop");
}

/** A finished reply, or `instead` when it has no words. */
export function wantedFinal(text: string, instead: string, button: PartButton): WantedPart[] {
  return withButton(text.trim() === "" ? [instead] : contentsOf(text), button);
}

/** A finished reply of which Discord takes no more than the first `count` parts: says so under the last. */
export function wantedCut(
  text: string,
  cut: { readonly count: number; readonly notice: string; readonly button: PartButton },
): WantedPart[] {
  const { button, count, notice } = cut;
  const contents = contentsOf(text).slice(0, count);
  const room = messageCharactersMax - Array.from(notice).length - 1;
  const [last = ""] = contentsOf(contents.pop() ?? "", room);
  return withButton([...contents, `${last}\n${notice}`], button);
}

/** The button stands under the last part. */
function withButton(contents: readonly string[], button: PartButton): WantedPart[] {
  return contents.map((content, index) => ({
    content,
    button: index === contents.length - 1 ? button : null,
  }));
}

/** Discord refuses a message of blanks. */
function contentsOf(text: string, limit: number = messageCharactersMax): string[] {
  return splitReply(text, limit)
    .map(contentOf)
    .filter((content) => content.trim() !== "");
}

/**
 * Null when Discord shows what is wanted. Surplus messages go only if `whole`: the reply is final,
 * or what stands there is another attempt's.
 */
export function nextStep(
  shown: readonly ShownPart[],
  wanted: readonly WantedPart[],
  whole: boolean,
): Step | null {
  for (const [index, part] of wanted.entries()) {
    const now = shown[index];
    if (now === undefined) return { kind: "post", index, part };
    if (now.content !== part.content || now.button !== part.button) {
      return { kind: "edit", index, part };
    }
  }
  const surplus = whole && shown.length > wanted.length;
  return surplus ? { kind: "remove", index: shown.length - 1 } : null;
}
