/** What a worker tells Prometheus. Names follow the serving engines' custom, with our prefix. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { StepReport } from "./turnloop/batch.ts";

export interface WorkerMetrics {
  readonly turns: Counter<"end">;
  readonly failures: Counter;
  readonly timeToFirstToken: Histogram;
  /** Of turns that nobody has claimed before. */
  readonly claimSeconds: Histogram;
  readonly commitSeconds: Histogram;
  readonly stateBytes: Counter<"direction">;
  readonly step: (report: StepReport) => void;
}

export function createWorkerMetrics(registry: Registry, running: () => number): WorkerMetrics {
  const registers = [registry];
  const tokens = new Counter({
    name: "eyrie_worker_tokens_total",
    help: "Tokens fed to the model, by phase",
    labelNames: ["phase"],
    registers,
  });
  const stepSeconds = new Histogram({
    name: "eyrie_worker_step_seconds",
    help: "Time of one forward pass over the batch",
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
    registers,
  });
  const rows = new Histogram({
    name: "eyrie_worker_step_rows",
    help: "Rows in one forward pass",
    buckets: [1, 2, 4, 8, 16, 32, 64, 128],
    registers,
  });
  const runningRows: Gauge = new Gauge({
    name: "eyrie_worker_replies_running",
    help: "Replies in the batch now",
    registers,
    collect: () => runningRows.set(running()),
  });
  return {
    turns: new Counter({
      name: "eyrie_worker_turns_total",
      help: "Turns committed, by how they ended",
      labelNames: ["end"],
      registers,
    }),
    failures: new Counter({
      name: "eyrie_worker_turn_interruptions_total",
      help: "Turns interrupted by an error and left to the next claim",
      registers,
    }),
    timeToFirstToken: new Histogram({
      name: "eyrie_worker_time_to_first_token_seconds",
      help: "From restored state to the first drawn token",
      buckets: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    claimSeconds: new Histogram({
      name: "eyrie_worker_claim_seconds",
      help: "From a turn's arrival at the gateway to its first claim, by the two machines' clocks",
      buckets: [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    commitSeconds: new Histogram({
      name: "eyrie_worker_commit_seconds",
      help: "Time of the commit script, round trip included",
      buckets: [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.5],
      registers,
    }),
    stateBytes: new Counter({
      name: "eyrie_worker_state_bytes_total",
      help: "Bytes of snapshots written to the snapshot store and read from it",
      labelNames: ["direction"],
      registers,
    }),
    step: (report) => {
      tokens.inc({ phase: "decode" }, report.decodeTokens);
      tokens.inc({ phase: "prefill" }, report.prefillTokens);
      stepSeconds.observe(report.computeMs / 1000);
      rows.observe(report.rows);
    },
  };
}
