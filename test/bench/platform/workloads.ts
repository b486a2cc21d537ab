/**
 * What is asked of the platform: L1 to L6 of the plan, and the two ceilings.
 *
 * A workload is one or more levels, run one after the other on the same processes. Figures of a level
 * begin after its warm-up. The backend takes as long as a model on a GPU would: one that takes longer
 * would be what is measured.
 */
import type { WorkloadName } from "#apps/cli/bench/platform.ts";
import { type Arrival, burst, crowd, inOrder, steady, streams } from "./arrivals.ts";
import type { Script } from "./scripted.ts";

export interface Level {
  readonly name: string;
  readonly arrivals: readonly Arrival[];
  /** Figures are taken from here … */
  readonly warmMs: number;
  /** … to here. */
  readonly endMs: number;
  /** Asked for, for the levels of a ramp. */
  readonly perSecond?: number;
}

export interface Workload {
  readonly title: string;
  readonly guilds: number;
  readonly channels: number;
  readonly limits: "discord" | "lifted";
  readonly script: Script;
  readonly slots: number;
  /** Memory of the worker for states at rest, MiB. */
  readonly parkedMib: number;
  readonly promptTokens: number;
  readonly replyTokens: number;
  readonly minutes: number;
  readonly levels: (minutes: number, seed: number) => readonly Level[];
}

/** 2 layers of 7B's head size: what a snapshot takes of the state's bytes is what it takes of 7B's. */
const shape = { layers: 2, width: 256 };
const fast: Script = { stepMs: 8, promptTokenMs: 0.1, ...shape };
/** With 300 prompts a second a model that reads any slower would be the limit. */
const ceiling: Script = { ...fast, promptTokenMs: 0.01 };
const usual = {
  guilds: 50,
  channels: 1_000,
  limits: "discord",
  script: fast,
  slots: 64,
  parkedMib: 64,
  promptTokens: 60,
  replyTokens: 120,
  minutes: 2,
} as const;
const usualLoad = { channels: usual.channels, perSecond: 10 };

/** A tenth of the time, 10 s at most, is for the processes to get warm. */
function whole(minutes: number): { warmMs: number; endMs: number; fromMs: number; toMs: number } {
  const endMs = minutes * 60_000;
  return { warmMs: Math.min(10_000, endMs / 10), endMs, fromMs: 0, toMs: endMs };
}

export const workloads: Readonly<Record<WorkloadName, Workload>> = {
  L1: {
    ...usual,
    title: "L1 steady: 1,000 channels, 10 turns/s, 60 tokens in, 120 out",
    minutes: 10,
    levels: (minutes, seed) => {
      const span = whole(minutes);
      return [{ ...span, name: "steady", arrivals: steady(usualLoad, span, seed) }];
    },
  },
  L2: {
    ...usual,
    title: "L2 burst: 100 turns in 1 s, then L1",
    levels: (minutes, seed) => {
      const span = whole(minutes);
      const { warmMs } = span;
      const load = steady(usualLoad, span, seed);
      const all = burst(100, { fromMs: warmMs, toMs: warmMs + 1_000 });
      return [{ ...span, name: "burst", arrivals: inOrder(load, all) }];
    },
  },
  L3: {
    ...usual,
    title: "L3 streams: 100 at once, 10 tokens/s each",
    channels: 100,
    script: { ...fast, stepMs: 98 },
    slots: 100,
    replyTokens: 512,
    minutes: 10,
    levels: (minutes, seed) => {
      const span = whole(minutes);
      // A reply takes 514 steps of about 100 ms; the next question comes when it is done.
      const load = { channels: 100, periodMs: 54_000 };
      return [{ ...span, name: "streams", arrivals: streams(load, span, seed) }];
    },
  },
  L4: {
    ...usual,
    title: "L4 hot channel: 20 people, 5 messages/s in one channel, and L1",
    levels: (minutes, seed) => {
      const span = whole(minutes / 2);
      const load = steady(usualLoad, span, seed);
      const hot = crowd({ users: 20, perSecond: 5, kind: "ask" }, span, seed + 1);
      return [
        { ...span, name: "alone", arrivals: load },
        { ...span, name: "hot", arrivals: inOrder(load, hot) },
      ];
    },
  },
  L5: {
    ...usual,
    title: "L5 churn: every turn loads a snapshot",
    slots: 16,
    parkedMib: 0,
    minutes: 10,
    levels: (minutes, seed) => {
      const { toMs } = whole(minutes);
      const perSecond = 1_000 / 600;
      // Everybody twice: the first time leaves a state, the second loads it.
      const channels = Math.max(20, Math.floor((toMs / 2_000) * perSecond));
      const load = { channels, perSecond };
      const span = { fromMs: 0, toMs };
      return [{ name: "churn", arrivals: steady(load, span, seed), warmMs: toMs / 2, endMs: toMs }];
    },
  },
  L6: {
    ...usual,
    title: "L6 hostile: L1 and 1,000 messages/s that are not to be answered",
    levels: (minutes, seed) => {
      const span = whole(minutes / 2);
      const load = steady(usualLoad, span, seed);
      const noise = crowd({ users: 200, perSecond: 1_000, kind: "refused" }, span, seed + 1);
      return [
        { ...span, name: "alone", arrivals: load },
        { ...span, name: "hostile", arrivals: inOrder(load, noise) },
      ];
    },
  },
  turns: {
    ...usual,
    title: "Ceiling of turns: 16-token replies, faster and faster",
    limits: "lifted",
    script: { ...ceiling, stepMs: 4 },
    slots: 256,
    promptTokens: 24,
    replyTokens: 16,
    minutes: 3,
    levels: (minutes, seed) => {
      const span = whole(minutes / rampPerSecond.length);
      return rampPerSecond.map((perSecond, index) => ({
        ...span,
        name: `${perSecond}/s`,
        perSecond,
        arrivals: steady({ ...usualLoad, perSecond }, span, seed + index),
      }));
    },
  },
  tokens: {
    ...usual,
    title: "Ceiling of tokens: 200 streams of 512-token replies",
    channels: 200,
    limits: "lifted",
    script: { ...ceiling, stepMs: 6 },
    slots: 200,
    promptTokens: 24,
    replyTokens: 512,
    minutes: 1,
    levels: (minutes, seed) => {
      const span = whole(minutes);
      const load = { channels: 200, periodMs: 4_900 };
      return [{ ...span, name: "200 streams", arrivals: streams(load, span, seed) }];
    },
  },
};

/** The first is for processes that have run nothing yet. */
const rampPerSecond = [100, 200, 250, 300, 350, 400];
