/** What a level came to. Pure: what was used and what was seen in, figures and verdicts out. */
import {
  type Bounds,
  type LevelFigures,
  type Part,
  parts,
  platformParts,
} from "#apps/cli/bench/platform.ts";
import type { Seen } from "./replies.ts";
import type { Usage } from "./stage.ts";
import { type Between, bucketQuantile, counted, quantiles } from "./statistics.ts";

export interface LevelSeen {
  readonly name: string;
  readonly perSecond: number | null;
  readonly before: Usage;
  readonly after: Usage;
  readonly asked: number;
  readonly seen: readonly Seen[];
  readonly crowdSeen: readonly Seen[];
  readonly lateMs: readonly number[];
}

export function figuresOf(level: LevelSeen): LevelFigures {
  const { before, after, seen } = level;
  const seconds = (after.atMs - before.atMs) / 1000;
  const workers: Between[] = after.pages.workers.map((page, index) => ({
    before: before.pages.workers[index]!,
    after: page,
  }));
  const gateway: Between[] = [{ before: before.pages.gateway, after: after.pages.gateway }];
  const tokens = counted(workers, 'eyrie_worker_tokens_total{phase="decode"}');
  const turns = counted(workers, "eyrie_worker_turns_total");
  const cpu = Object.fromEntries(
    parts.map((part) => [part, (after.cpuMs[part] - before.cpuMs[part]) / 1000]),
  ) as Record<Part, number>;
  const platformUs = 1e6 * platformParts.reduce((sum, part) => sum + cpu[part], 0);
  const bounds = (name: string): Bounds => ({
    p50: inMs(bucketQuantile(workers, name, 0.5)),
    p99: inMs(bucketQuantile(workers, name, 0.99)),
  });
  const steps = counted(workers, "eyrie_worker_step_rows_count");
  return {
    name: level.name,
    perSecond: level.perSecond,
    seconds,
    asked: level.asked,
    answered: seen.length,
    wrong: [...seen, ...level.crowdSeen].filter(({ right }) => !right).length,
    turnsPerSecond: turns / seconds,
    tokensPerSecond: tokens / seconds,
    rowsPerStep: counted(workers, "eyrie_worker_step_rows_sum") / steps,
    noticedMs: quantiles(seen.map(({ noticedMs }) => noticedMs)),
    firstTextMs: quantiles(seen.map(({ firstTextMs }) => firstTextMs)),
    finalMs: quantiles(seen.map(({ finalMs }) => finalMs)),
    crowdFinalMs: quantiles(level.crowdSeen.map(({ finalMs }) => finalMs)),
    claimedMs: bounds("eyrie_worker_claim_seconds"),
    commitMs: bounds("eyrie_worker_commit_seconds"),
    cpu,
    cpuUsPerToken: platformUs / tokens,
    cpuUsPerTurn: platformUs / turns,
    commandsPerTurn: {
      truth: (after.commands.truth - before.commands.truth) / turns,
      state: (after.commands.state - before.commands.state) / turns,
    },
    requestsPerTurn: (after.requests - before.requests) / turns,
    refused: counted(gateway, "eyrie_gateway_refused_total"),
    rateLimited: counted(gateway, "eyrie_gateway_rate_limited_total"),
    lateMs: quantiles(level.lateMs),
    state: {
      writtenBytes: counted(workers, 'eyrie_worker_state_bytes_total{direction="written"}'),
      readBytes: counted(workers, 'eyrie_worker_state_bytes_total{direction="read"}'),
    },
  };
}

function inMs(seconds: number | null): number | null {
  return seconds === null ? null : Math.round(seconds * 1e6) / 1000;
}
