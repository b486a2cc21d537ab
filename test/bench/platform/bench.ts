/** One workload, from empty Redis to figures. */
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type BenchQuestion,
  isTooFast,
  type LevelFigures,
  type StateFigures,
  type WorkloadFigures,
} from "#apps/cli/bench/platform.ts";
import { loadConfig } from "#infra/config/config.ts";
import { openModel } from "#kernels/model/model.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import type { Arrival } from "./arrivals.ts";
import { figuresOf } from "./figures.ts";
import { generate, realTime } from "./generator.ts";
import { questionOf, Replies, type Seen } from "./replies.ts";
import { type Asked, Stage, type Usage } from "./stage.ts";
import { type Level, type Workload, workloads } from "./workloads.ts";

/** How long the last replies of a level are waited for. */
const patienceMs = 60_000;
const pollMs = 100;
const lookedAtOnce = 100;

interface Said {
  readonly asked: Asked;
  readonly arrival: Arrival;
}

export async function runWorkload(
  question: BenchQuestion,
  options: {
    /** Left out: the workload's own. */
    readonly replyTokens?: number;
    readonly signal?: AbortSignal;
  } = {},
): Promise<WorkloadFigures> {
  const { signal } = options;
  const planned = workloads[question.workload];
  const workload = { ...planned, replyTokens: options.replyTokens ?? planned.replyTokens };
  const minutes = question.minutes ?? workload.minutes;
  const model = await openModel(loadConfig({}).EYRIE_MODEL);
  const tokenizer = Tokenizer.open(model.vocabularyPath ?? "");
  model.close();
  const stage = await Stage.open({
    ...workload,
    users: workload.channels,
    workers: 1,
    environment: {
      EYRIE_SLOTS: String(workload.slots),
      EYRIE_PARKED_MIB: String(workload.parkedMib),
      EYRIE_REPLY_TOKENS_MAX: String(workload.replyTokens),
    },
  });
  try {
    const levels: LevelFigures[] = [];
    const load = new Load(stage, workload, tokenizer);
    for (const level of workload.levels(minutes, question.seed)) {
      levels.push(await load.run(level, signal));
      if (level.perSecond !== undefined && isTooFast(levels.at(-1)!)) break;
    }
    const memory = stage.memory();
    return {
      workload: question.workload,
      title: workload.title,
      minutes,
      seed: question.seed,
      slots: workload.slots,
      levels,
      state: stateFigures(workload, levels, await stage.drain()),
      memory: { gateway: memory.gateway, worker: Math.max(...memory.workers) },
    };
  } finally {
    await stage.close();
  }
}

class Load {
  readonly #stage: Stage;
  readonly #replies: Replies;
  readonly #question: string;

  constructor(stage: Stage, workload: Workload, tokenizer: Tokenizer) {
    this.#stage = stage;
    this.#replies = new Replies(stage, tokenizer, workload.replyTokens);
    this.#question = questionOf(workload.promptTokens, tokenizer);
  }

  async run(level: Level, signal?: AbortSignal): Promise<LevelFigures> {
    const said: Said[] = [];
    const startMs = realTime.nowMs();
    const speak = (arrival: Arrival, plannedMs: number): void => {
      const asked = this.#say(arrival, plannedMs);
      if (asked !== null) said.push({ asked, arrival });
    };
    const [lateMs, [before, after]] = await Promise.all([
      generate(level.arrivals, { ...realTime, speak }, signal),
      this.#window(level, startMs, signal),
    ]);
    const measured = said.filter(({ arrival }) => arrival.atMs >= level.warmMs);
    const ofChannels = measured.filter(({ arrival }) => arrival.group === "channels");
    const ofCrowd = measured.filter(({ arrival }) => arrival.group === "crowd");
    // Of a crowd most are refused: its replies are waited for with everybody's, and then counted.
    const seen = await this.#wait(ofChannels, signal);
    return figuresOf({
      name: level.name,
      perSecond: level.perSecond ?? null,
      before,
      after,
      asked: ofChannels.length,
      seen,
      crowdSeen: this.#seen(ofCrowd),
      lateMs: lateMs.filter((_, index) => level.arrivals[index]!.atMs >= level.warmMs),
    });
  }

  #say({ channel, group, kind, user }: Arrival, plannedMs: number): Asked | null {
    const { double, channels, crowd, users } = this.#stage;
    const place = group === "crowd" ? crowd : channels[channel]!;
    const mention = kind === "ask";
    const trigger = double.userSays(place, users[user]!, this.#question, { mention });
    return mention ? { channel: place, trigger, plannedMs } : null;
  }

  async #window(level: Level, startMs: number, signal?: AbortSignal): Promise<[Usage, Usage]> {
    const until = async (atMs: number): Promise<void> =>
      realTime.sleep(Math.max(0, startMs + atMs - realTime.nowMs()), signal);
    await until(level.warmMs);
    const before = await this.#stage.usage();
    await until(level.endMs);
    return [before, await this.#stage.usage()];
  }

  #seen(said: readonly Said[]): Seen[] {
    return said.flatMap(({ asked }) => this.#replies.seen(asked) ?? []);
  }

  async #wait(said: readonly Said[], signal?: AbortSignal): Promise<Seen[]> {
    const deadlineMs = realTime.nowMs() + patienceMs;
    const seen: Seen[] = [];
    let left = said;
    for (;;) {
      const waiting: Said[] = [];
      for (const [index, one] of left.entries()) {
        // Looking through thousands at once would hold up the double, and with it the last replies.
        if (index % lookedAtOnce === 0) await nextTurn();
        const found = this.#replies.seen(one.asked);
        if (found === null) waiting.push(one);
        else seen.push(found);
      }
      left = waiting;
      if (left.length === 0 || realTime.nowMs() > deadlineMs) return seen;
      await realTime.sleep(pollMs, signal);
    }
  }
}

/** Over everything that was measured: the drain is paid for by the turns before it. */
function stateFigures(
  { script }: Workload,
  levels: readonly LevelFigures[],
  drainedBytes: number,
): StateFigures {
  const stateBytes = 4 * script.layers * script.width * (64 + 2);
  const turns = levels.reduce((sum, { turnsPerSecond, seconds }) => {
    return sum + turnsPerSecond * seconds;
  }, 0);
  const moved = levels.reduce((sum, { state }) => sum + state.writtenBytes + state.readBytes, 0);
  const sharePerTurn = (moved + drainedBytes) / turns / stateBytes;
  return { stateBytes, drainedBytes, turns: Math.round(turns), sharePerTurn };
}
