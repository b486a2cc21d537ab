/** What a checker says when a promise was broken: which one, and enough words to find out why. */

export const violationKinds = [
  /** A turn that was appended ended nowhere, or its reply is not in Discord. */
  "lost",
  /** A turn, a record, a block or a message is there twice. */
  "duplicated",
  /** Turns of a conversation are numbered or logged in another order than they were said. */
  "reordered",
  /** Something of one conversation stands in another. */
  "crossed",
  /** Stored bytes do not pass their own checks, or do not belong together. */
  "corrupt",
  /** What stands in Discord is not what the ledger says. */
  "altered",
  /** Somebody changed a conversation without holding its lease. */
  "unfenced",
  /** Something is left over that should have gone by now. */
  "unfinished",
  /** Something has grown beyond its limit. */
  "unbounded",
] as const;

export type ViolationKind = (typeof violationKinds)[number];

export interface Violation {
  readonly kind: ViolationKind;
  readonly what: string;
}

export type Tally = Readonly<Record<ViolationKind, number>>;

/** How many of each kind. */
export function tally(violations: readonly Violation[]): Tally {
  const counts = Object.fromEntries(violationKinds.map((kind) => [kind, 0])) as Record<
    ViolationKind,
    number
  >;
  for (const { kind } of violations) counts[kind]++;
  return counts;
}

/** For a failed test: the first few in words. */
export function inWords(violations: readonly Violation[], linesMax = 20): string {
  const lines = violations.slice(0, linesMax).map(({ kind, what }) => `${kind}: ${what}`);
  const more = violations.length - lines.length;
  return [...lines, ...(more > 0 ? [`… and ${more} more`] : [])].join("\n");
}
