/**
 * `npm run soak -- --minutes N [--seed S] [--rate TURNS/S] [--channels N] [--turns N] [--sparing]
 * [--lifted] [--json]`: real processes under open load and random faults; see endure.ts. With --sparing
 * no fault ends a gateway or worker, so that their memory is seen over the whole time; with --lifted the
 * gateway sends more than Discord takes, for rates above 10. Ends with one line of
 * JSON under `--json`, else with a summary, and with the command that says and breaks the same again.
 * Exit code 1 when anything was lost, doubled, out of order or mixed up.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { exitWithParent } from "#infra/setup/parent.ts";
import { redisOnPath } from "../run/redis.ts";
import { type Endured, endure } from "./endure.ts";

exitWithParent();

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    turns: { type: "string" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    rate: { type: "string", default: "10" },
    channels: { type: "string", default: "60" },
    "fault-every": { type: "string", default: "8" },
    sparing: { type: "boolean", default: false },
    lifted: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const options = {
  ...(values.turns === undefined ? { minutes: Number(values.minutes ?? "5") } : {}),
  ...(values.turns === undefined ? {} : { turns: Number(values.turns) }),
  seed: Number(values.seed),
  turnsPerSecond: Number(values.rate),
  channels: Number(values.channels),
  faultEveryMs: 1_000 * Number(values["fault-every"]),
};
if (!Object.values(options).every((number) => Number.isFinite(number) && number > 0)) {
  console.error(
    "--minutes, --turns, --seed, --rate, --channels, --fault-every take numbers above 0",
  );
  process.exit(2);
}
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // An exit, and not a death, also when it is told twice: what it started goes with it.
  process.on(signal, () => process.exit(1));
}
process.env["PATH"] = await redisOnPath(resolve(import.meta.dirname, "../.."));
const startedMs = performance.now();
const endured = await endure({
  ...options,
  sparing: values.sparing,
  lifted: values.lifted,
  onProgress: (line) => {
    const seconds = Math.round((performance.now() - startedMs) / 1_000);
    if (!values.json) console.log(`${seconds} s: ${line}`);
  },
});
const length = "turns" in options ? `--turns ${options.turns}` : `--minutes ${options.minutes}`;
const repeat =
  `npm run soak -- ${length} --seed ${options.seed} --rate ${options.turnsPerSecond} ` +
  `--channels ${options.channels} --fault-every ${options.faultEveryMs / 1_000}` +
  (values.sparing ? " --sparing" : "") +
  (values.lifted ? " --lifted" : "");
if (values.json) console.log(JSON.stringify({ ...endured, seed: options.seed, repeat }));
else console.log(summary(endured));
const { lost, duplicated, reordered, crossed } = endured;
process.exit(lost + duplicated + reordered + crossed === 0 ? 0 : 1);

function summary({ findings, faults, memory, ...figures }: Endured): string {
  const lines = [
    ...Object.entries(faults).map(([name, times]) => `${String(times).padStart(5)} × ${name}`),
    ...memory.map(
      ({ process: name, minutes, rssMiB, bytesPerMinute, heapMiB, heapBytesPerMinute }) =>
        `  ${name}: ${rssMiB} MiB after ${minutes} min, ${bytesPerMinute} bytes a minute later on; ` +
        `held in its heap ${heapMiB ?? "?"} MiB, ${heapBytesPerMinute ?? "?"} bytes a minute`,
    ),
    ...findings,
    ...Object.entries(figures).map(([name, value]) => `${name}: ${value}`),
    `again: ${repeat}`,
  ];
  return lines.join("\n");
}
