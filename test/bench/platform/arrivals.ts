/**
 * When somebody speaks, and where: drawn from a seed before the load begins and kept to whatever the
 * platform does. Pure; equal seeds give equal arrivals.
 *
 * The load is open: nobody waits for an answer before the next one asks, so a platform that falls
 * behind is asked as often as before, and what it keeps waiting is counted from the planned moment.
 */
import { seededRandom } from "#test/doubles/discord/faults.ts";

export interface Arrival {
  /** From the start of the load. */
  readonly atMs: number;
  /** `refused`: something the bot must not answer. */
  readonly kind: "ask" | "refused";
  /** `crowd`: in a channel of its own that many people write to at once. */
  readonly group: "channels" | "crowd";
  /** Within its group. */
  readonly channel: number;
  readonly user: number;
}

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Moments of a Poisson process, ascending: gaps are exponential and know nothing of each other. */
export function poisson(perSecond: number, span: Span, random: () => number): number[] {
  const moments: number[] = [];
  for (let atMs = span.fromMs; ;) {
    // 1 - u lies in (0, 1]: its logarithm is finite.
    atMs -= (Math.log(1 - random()) * 1_000) / perSecond;
    if (atMs >= span.toMs) return moments;
    moments.push(atMs);
  }
}

/**
 * Everybody in turn, in a shuffled order: each channel is asked equally often and as late after its
 * last time as can be, which is the hardest order for whatever remembers the recent ones.
 */
export function roundRobin(count: number, random: () => number): (index: number) => number {
  const order = Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return (index) => order[index % count]!;
}

/** Questions to `channels` channels, at random moments, `perSecond` of them. */
export function steady(
  load: { readonly channels: number; readonly perSecond: number },
  span: Span,
  seed: number,
): Arrival[] {
  const random = seededRandom(seed);
  const channelOf = roundRobin(load.channels, random);
  return poisson(load.perSecond, span, random).map((atMs, index) => {
    const channel = channelOf(index);
    return { atMs, kind: "ask", group: "channels", channel, user: channel };
  });
}

/** `count` questions to different channels, spread evenly over a span. */
export function burst(count: number, span: Span): Arrival[] {
  const gapMs = (span.toMs - span.fromMs) / count;
  return Array.from({ length: count }, (_, channel) => ({
    atMs: span.fromMs + channel * gapMs,
    kind: "ask",
    group: "channels",
    channel,
    user: channel,
  }));
}

/** Every channel asks again and again, `periodMs` after its last question; phases are drawn. */
export function streams(
  load: { readonly channels: number; readonly periodMs: number },
  span: Span,
  seed: number,
): Arrival[] {
  const random = seededRandom(seed);
  const arrivals: Arrival[] = [];
  for (let channel = 0; channel < load.channels; channel++) {
    const phaseMs = random() * load.periodMs;
    for (let atMs = span.fromMs + phaseMs; atMs < span.toMs; atMs += load.periodMs) {
      arrivals.push({ atMs, kind: "ask", group: "channels", channel, user: channel });
    }
  }
  return inOrder(arrivals);
}

/** `users` people in one channel, or messages that are not for the bot. */
export function crowd(
  load: { readonly users: number; readonly perSecond: number; readonly kind: Arrival["kind"] },
  span: Span,
  seed: number,
): Arrival[] {
  const random = seededRandom(seed);
  const { kind } = load;
  return poisson(load.perSecond, span, random).map((atMs) => {
    return { atMs, kind, group: "crowd", channel: 0, user: Math.floor(random() * load.users) };
  });
}

export function inOrder(...several: readonly (readonly Arrival[])[]): Arrival[] {
  return several.flat().sort((a, b) => a.atMs - b.atMs);
}
