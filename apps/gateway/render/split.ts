/**
 * A reply as Discord messages: each at most `limit` characters, each with balanced code fences.
 *
 * Promises: the parts' `text`, joined, is the source; what was added to keep a part balanced is in
 * `opening` and `closing`. A part ends after a paragraph, else a line, sentence, word, or at least a
 * whole grapheme (a grapheme longer than a message is cut between code points).
 *
 * Length is in code points: Discord's API counts those (discord/discord-api-docs#1315). Fences are
 * Discord's, not CommonMark's: three backticks toggle code wherever they stand.
 */
import assert from "node:assert/strict";

/** Characters of one Discord message at most. */
export const messageCharactersMax = 2_000;

/** Below this a fence and its closing could leave no room for text. */
const limitMin = 64;
/** A longer info string is not repeated when a fence is opened again. */
const infoCharactersMax = 20;
/** A boundary that would leave a part emptier than this is passed over for a lesser one. */
const fillMin = 0.5;

const fence = "```";

export interface Part {
  /** Opens again a fence that the part before had to close; else "". */
  readonly opening: string;
  readonly text: string;
  /** Closes a fence that is open where the part ends; else "". */
  readonly closing: string;
}

export function contentOf(part: Part): string {
  return part.opening + part.text + part.closing;
}

export function splitReply(text: string, limit: number = messageCharactersMax): Part[] {
  assert(limit >= limitMin, `limit ${limit} is below ${limitMin}`);
  const source = new FencedText(text);
  const parts: Part[] = [];
  let start = 0;
  while (start < text.length) {
    const end = partEnd(source, start, limit);
    assert(end > start, "a part holds something");
    parts.push(partOf(source, start, end));
    start = end;
  }
  return parts;
}

function partOf(source: FencedText, start: number, end: number): Part {
  const text = source.text.slice(start, end);
  const opened = source.openAt(start);
  const opening = opened === null ? "" : `${fence}${opened.info}\n`;
  const closing = source.openAt(end) === null ? "" : (text.endsWith("\n") ? "" : "\n") + fence;
  return { opening, text, closing };
}

function partEnd(source: FencedText, start: number, limit: number): number {
  const { text } = source;
  const fits = (end: number): boolean =>
    codePoints(contentOf(partOf(source, start, end)), limit) <= limit;
  if (text.length - start <= 2 * limit && fits(text.length)) return text.length;

  const window = text.slice(start, skipCodePoints(text, start, limit));
  for (const kind of boundaryKinds) {
    const ends = kind
      .ends(window)
      .map((offset) => start + offset)
      .filter((end) => end > start && end < text.length);
    const enough = start + window.length * kind.fillMin;
    const best = ends.findLast((end) => end >= enough && source.mayCut(start, end) && fits(end));
    if (best !== undefined) return best;
  }
  return lastResort(source, start, fits);
}

/** Pathological text (a grapheme or an info string longer than a message): any code point. */
function lastResort(source: FencedText, start: number, fits: (end: number) => boolean): number {
  let best = start;
  for (let end = start; end < source.text.length;) {
    end += (source.text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1;
    if (source.insideMarker(end)) continue;
    if (!fits(end)) break;
    best = end;
  }
  return best;
}

interface BoundaryKind {
  readonly fillMin: number;
  /** Offsets in `window` where something of this kind ends, ascending. */
  ends(window: string): number[];
}

const sentences = new Intl.Segmenter(undefined, { granularity: "sentence" });
const words = new Intl.Segmenter(undefined, { granularity: "word" });
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

const boundaryKinds: readonly BoundaryKind[] = [
  { fillMin, ends: (window) => matchEnds(window, /\n\s*\n/g) },
  { fillMin, ends: (window) => matchEnds(window, /\n/g) },
  { fillMin, ends: (window) => outsideInlineCode(window, segmentEnds(window, sentences)) },
  { fillMin, ends: (window) => outsideInlineCode(window, wordEnds(window)) },
  { fillMin: 0, ends: (window) => segmentEnds(window, graphemes) },
];

function matchEnds(window: string, pattern: RegExp): number[] {
  return [...window.matchAll(pattern)].map((match) => match.index + match[0].length);
}

/** The end of the window is no boundary: what it cuts may go on behind it. */
function segmentEnds(window: string, segmenter: Intl.Segmenter): number[] {
  return [...segmenter.segment(window)].slice(1).map((segment) => segment.index);
}

/** Where a word begins: spaces and punctuation stay with the word before them. */
function wordEnds(window: string): number[] {
  return [...words.segment(window)]
    .slice(1)
    .filter((segment) => segment.isWordLike === true)
    .map((segment) => segment.index);
}

/** Drops offsets between two single backticks of one line. */
function outsideInlineCode(window: string, ends: readonly number[]): number[] {
  return ends.filter((end) => {
    const line = window.slice(window.lastIndexOf("\n", end - 1) + 1, end);
    return (line.replaceAll(fence, "").match(/`/g)?.length ?? 0) % 2 === 0;
  });
}

interface Marker {
  readonly start: number;
  readonly end: number;
  /** Language after an opening fence, "" for none or a long one. */
  readonly info: string;
  /** Where code begins: behind the info string and its line break. */
  readonly bodyStart: number;
}

/** A text and its fence markers; even ones (0, 2, …) open, odd ones close. */
class FencedText {
  readonly text: string;
  readonly #markers: readonly Marker[];

  constructor(text: string) {
    this.text = text;
    this.#markers = [...text.matchAll(/```/g)].map(({ index }) => {
      const end = index + fence.length;
      const info = /^[\w+\-.#]*\n/.exec(text.slice(end, end + 200))?.[0] ?? "";
      return {
        start: index,
        end,
        info: info.length - 1 > infoCharactersMax ? "" : info.trimEnd(),
        bodyStart: end + info.length,
      };
    });
  }

  /** The opening marker of the fence that is open at `at`, or null. */
  openAt(at: number): Marker | null {
    const before = this.#countBefore(at);
    return before % 2 === 1 ? (this.#markers[before - 1] ?? null) : null;
  }

  insideMarker(at: number): boolean {
    const marker = this.#markers[this.#countBefore(at)];
    return marker !== undefined && marker.start < at && at < marker.end;
  }

  /** False inside a marker or info string, and where a part would hold an empty fence. */
  mayCut(start: number, end: number): boolean {
    if (this.insideMarker(end)) return false;
    const open = this.openAt(end);
    if (open === null) return true;
    if (end < open.bodyStart) return false;
    const bodyBefore = this.text.slice(Math.max(start, open.bodyStart), end);
    const close = this.#markers[this.#countBefore(end)];
    const bodyAfter = this.text.slice(end, close?.start ?? this.text.length);
    return bodyBefore.trim() !== "" && bodyAfter.trim() !== "";
  }

  /** Markers that end at or before `at`, by bisection. */
  #countBefore(at: number): number {
    let low = 0;
    let high = this.#markers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#markers[middle]?.end ?? Infinity) <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Code points of `text`; stops counting beyond `enough`. */
function codePoints(text: string, enough: number): number {
  if (text.length <= enough) return text.length;
  let count = 0;
  for (const _ of text) if (++count > enough) break;
  return count;
}

/** The index `count` code points behind `from`, or the end. */
function skipCodePoints(text: string, from: number, count: number): number {
  let at = from;
  for (let left = count; left > 0 && at < text.length; left--) {
    at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
  }
  return at;
}
