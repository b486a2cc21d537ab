/**
 * `npm run sim -- --seeds N --turns M`: the whole platform N times on a virtual clock, with faults.
 *
 * Every promise is checked after every seed. Exit code 0 when all held, 1 when one was broken (each
 * failing seed is told in words, with the command that repeats it), 2 for bad usage. With `--json`
 * the last line of standard output is one JSON object.
 */
import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError } from "commander";
import { ProgressBar } from "#apps/cli/progress.ts";
import { exitWithParent } from "#infra/setup/parent.ts";
import { inWords } from "../invariants/violation.ts";
import { breaks } from "./breaks.ts";
import { type Failure, runSeeds } from "./seeds.ts";

const wordsMax = 8;

interface Options {
  readonly seeds: number;
  readonly turns: number;
  readonly seed: number;
  readonly threads: number;
  readonly break?: string;
  readonly untilFailure: boolean;
  readonly trace: boolean;
  readonly json: boolean;
}

function count(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new InvalidArgumentError("a whole number from 1 on");
}

function breakName(text: string): string {
  const names = breaks.map(({ name }) => name);
  if (names.includes(text)) return text;
  throw new InvalidArgumentError(`one of ${names.join(", ")}`);
}

function readOptions(): Options {
  const program = new Command("sim")
    .description("The whole platform on a virtual clock, with faults drawn by seed.")
    .option("--seeds <number>", "how many", count, 300)
    .option("--turns <number>", "messages in each", count, 200)
    .option("--seed <number>", "the first one", count, 1)
    .option("--threads <number>", "seeds at once", count, Math.min(availableParallelism(), 8))
    .option("--break <name>", "break a line that holds a promise", breakName)
    .option("--until-failure", "end with the first seed that fails", false)
    .option("--trace", "tell what happens, line by line", false)
    .option("--json", "end with one line of JSON", false)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
  return program.parse().opts<Options>();
}

function tell(failure: Failure, options: Options): void {
  const { seed, violations } = failure;
  const broken = options.break === undefined ? "" : ` --break ${options.break}`;
  console.error(`seed ${seed}:\n${inWords(violations, wordsMax)}`);
  console.error(
    `repeat: npm run sim -- --seeds 1 --seed ${seed} --turns ${options.turns}${broken} --trace\n`,
  );
}

exitWithParent();
const options = readOptions();
const bar = new ProgressBar("seeds", options.seeds, {
  timeLeft: (time) => `${time} left`,
  amount: (seeds) => `${Math.round(seeds)}`,
});
const startedMs = performance.now();
const { failures, summary, virtualMs } = await runSeeds({
  firstSeed: options.seed,
  seeds: options.seeds,
  turns: options.turns,
  threads: Math.min(options.threads, options.seeds),
  breakName: options.break ?? null,
  trace: options.trace,
  untilFailure: options.untilFailure,
  onTrace: (line) => console.log(line),
  onSeed: (done, failure) => {
    bar.update(done);
    if (failure === null) return;
    bar.clear();
    tell(failure, options);
  },
});
bar.clear();
const seconds = (performance.now() - startedMs) / 1000;
console.error(
  `${summary.seeds} seeds, ${summary.turns} turns in ${seconds.toFixed(1)} s ` +
    `(${(summary.seeds / seconds).toFixed(1)} seeds/s, ` +
    `${Math.round(virtualMs / 1000 / seconds)} times real time): ${failures.length} failed`,
);
if (options.json) console.log(JSON.stringify(summary));
process.exitCode = failures.length === 0 ? 0 : 1;
