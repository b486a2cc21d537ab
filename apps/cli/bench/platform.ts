/**
 * What `eyrie bench platform` asks of `test/bench/platform` and is told by it, and what it is held
 * against: the goals of the platform for two cores.
 */

export const workloadNames = ["L1", "L2", "L3", "L4", "L5", "L6", "turns", "tokens"] as const;
export type WorkloadName = (typeof workloadNames)[number];

export interface BenchQuestion {
  readonly workload: WorkloadName;
  /** Left out: the workload's own. */
  readonly minutes?: number | undefined;
  readonly seed: number;
}

export interface Quantiles {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Bounds of a histogram's buckets, so never too good. */
export interface Bounds {
  readonly p50: number | null;
  readonly p99: number | null;
}

/** `double` is the generator too. */
export const parts = ["gateway", "worker", "truth", "state", "model", "double"] as const;
export type Part = (typeof parts)[number];
/** What the cost of a token is counted over. */
export const platformParts = ["gateway", "worker", "truth", "state"] as const;

export interface LevelFigures {
  readonly name: string;
  /** Turns asked for, of a level of a ramp. */
  readonly perSecond: number | null;
  readonly seconds: number;
  readonly asked: number;
  readonly answered: number;
  /** Replies whose text was not the script's. */
  readonly wrong: number;
  readonly turnsPerSecond: number;
  readonly tokensPerSecond: number;
  /** On average. */
  readonly rowsPerStep: number;
  /** From the moment when it should have been asked: anything, the first word, the whole reply. */
  readonly noticedMs: Quantiles | null;
  readonly firstTextMs: Quantiles | null;
  readonly finalMs: Quantiles | null;
  /** Of the crowd's channel, where there is one. */
  readonly crowdFinalMs: Quantiles | null;
  readonly claimedMs: Bounds;
  readonly commitMs: Bounds;
  /** Seconds of CPU. */
  readonly cpu: Readonly<Record<Part, number>>;
  /** Of {@link platformParts}. */
  readonly cpuUsPerToken: number;
  readonly cpuUsPerTurn: number;
  readonly commandsPerTurn: { readonly truth: number; readonly state: number };
  readonly requestsPerTurn: number;
  /** Messages that the gateway answered with an error, and answers 429 to it. */
  readonly refused: number;
  readonly rateLimited: number;
  /** How far the generator was behind. */
  readonly lateMs: Quantiles | null;
  readonly state: { readonly writtenBytes: number; readonly readBytes: number };
}

export interface StateFigures {
  /** Of one conversation, in fp32. */
  readonly stateBytes: number;
  readonly drainedBytes: number;
  readonly turns: number;
  /** Written, read and drained for each turn, in states. */
  readonly sharePerTurn: number;
}

export interface WorkloadFigures {
  readonly workload: WorkloadName;
  readonly title: string;
  readonly minutes: number;
  readonly seed: number;
  readonly slots: number;
  readonly levels: readonly LevelFigures[];
  readonly state: StateFigures;
  /** Resident at the end of the load, bytes. */
  readonly memory: { readonly gateway: number; readonly worker: number };
}

/** A ramp ends where replies take more than a second. */
export const rampMsMax = 1_000;

export function isTooFast({ finalMs, asked, answered }: LevelFigures): boolean {
  return answered < asked || finalMs === null || finalMs.p99 > rampMsMax;
}

export interface Verdict {
  readonly goal: string;
  readonly value: number;
  readonly unit: string;
  readonly atLeast?: number;
  readonly atMost?: number;
  readonly met: boolean;
}

type Goal = Omit<Verdict, "met">;

/** Everything that a run is held against; values that could not be measured are NaN, and not met. */
export function verdicts(figures: WorkloadFigures): Verdict[] {
  return goalsOf(figures).map((goal) => ({
    ...goal,
    met:
      (goal.atLeast === undefined || goal.value >= goal.atLeast) &&
      (goal.atMost === undefined || goal.value <= goal.atMost),
  }));
}

function goalsOf({ workload, levels, state }: WorkloadFigures): Goal[] {
  const ramp = workload === "turns";
  const held = ramp ? levels.filter((level) => !isTooFast(level)) : levels;
  const [first] = levels;
  const last = levels.at(-1);
  if (first === undefined || last === undefined) return [];
  const sum = (of: (level: LevelFigures) => number): number =>
    held.reduce((total, level) => total + of(level), 0);
  const common: Goal[] = [
    { goal: "questions unanswered", value: sum(unanswered), unit: "", atMost: 0 },
    { goal: "wrong replies", value: sum(({ wrong }) => wrong), unit: "", atMost: 0 },
  ];
  switch (workload) {
    case "L1":
    case "L2":
    case "L5":
      return [
        ...common,
        {
          goal: "append to claimed, p99",
          value: orNaN(last.claimedMs.p99),
          unit: "ms",
          atMost: 80,
        },
        { goal: "commit, p99", value: orNaN(last.commitMs.p99), unit: "ms", atMost: 10 },
        { goal: "answers 429", value: last.rateLimited, unit: "", atMost: 0 },
        ...(workload === "L1"
          ? [
              {
                goal: "state moved a turn",
                value: state.sharePerTurn,
                unit: "of fp32",
                atMost: 0.1,
              },
            ]
          : []),
      ];
    case "L3":
      return [...common, { goal: "answers 429", value: last.rateLimited, unit: "", atMost: 0 }];
    case "L4":
    case "L6":
      return [
        ...common,
        { goal: "others' p95 rises", value: rise(first, last), unit: "", atMost: 0.2 },
      ];
    case "turns": {
      const best = held.reduce((most, { turnsPerSecond }) => Math.max(most, turnsPerSecond), 0);
      return [...common, { goal: "turns", value: best, unit: "/s", atLeast: 300 }];
    }
    case "tokens":
      return [
        ...common,
        { goal: "tokens", value: last.tokensPerSecond, unit: "/s", atLeast: 20_000 },
        { goal: "CPU a token", value: last.cpuUsPerToken, unit: "µs", atMost: 40 },
      ];
  }
}

function unanswered({ asked, answered }: LevelFigures): number {
  return asked - answered;
}

/** Of the first word's p95, against the level without the others. */
function rise(alone: LevelFigures, together: LevelFigures): number {
  return (together.firstTextMs?.p95 ?? NaN) / (alone.firstTextMs?.p95 ?? NaN) - 1;
}

function orNaN(value: number | null): number {
  return value ?? NaN;
}
