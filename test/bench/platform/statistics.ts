/** Figures from samples and from Prometheus pages. Pure. */
import type { Quantiles } from "#apps/cli/bench/platform.ts";

/** The least sample that is not below `share` of all (nearest rank); NaN of none. */
export function quantile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) return NaN;
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
}

export function quantiles(samples: readonly number[]): Quantiles | null {
  if (samples.length === 0) return null;
  const sorted = samples.toSorted((a, b) => a - b);
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => quantile(sorted, share));
  return { count: sorted.length, p50: p50!, p95: p95!, p99: p99!, max: sorted.at(-1)! };
}

/** Samples of a Prometheus page by `name{labels}`, as written there. */
export type Page = ReadonlyMap<string, number>;

export function parsePage(text: string): Page {
  const page = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) (\S+)$/.exec(line);
    if (match !== null) page.set(match[1]!, Number(match[2]!.replace("Inf", "Infinity")));
  }
  return page;
}

/** What was counted between two pages, over all labels of `name`; of several processes the sum. */
export function counted(pages: readonly Between[], name: string): number {
  const grown = pages.flatMap(({ before, after }) =>
    [...after]
      .filter(([key]) => key === name || key.startsWith(`${name}{`))
      .map(([key, value]) => value - (before.get(key) ?? 0)),
  );
  return grown.reduce((sum, value) => sum + value, 0);
}

export interface Between {
  readonly before: Page;
  readonly after: Page;
}

/**
 * A quantile of what a histogram observed between two pages: the upper bound of the bucket that it
 * lies in, so never less than it was. Null when nothing was observed.
 */
export function bucketQuantile(
  pages: readonly Between[],
  name: string,
  share: number,
): number | null {
  const bounds = new Map<number, number>();
  for (const { before, after } of pages) {
    for (const [key, value] of after) {
      const match = /^(\w+)_bucket\{(?:.*,)?le="([^"]+)"\}$/.exec(key);
      if (match?.[1] !== name) continue;
      const bound = match[2] === "+Inf" ? Infinity : Number(match[2]);
      bounds.set(bound, (bounds.get(bound) ?? 0) + value - (before.get(key) ?? 0));
    }
  }
  const ascending = [...bounds].sort(([a], [b]) => a - b);
  const total = ascending.at(-1)?.[1] ?? 0;
  if (total === 0) return null;
  return ascending.find(([, below]) => below >= share * total)?.[0] ?? null;
}
