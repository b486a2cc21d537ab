/** A worker of the platform: the shipped turn loop between simulated servers and the small model. */
import { Registry } from "prom-client";
import { createWorkerMetrics } from "#apps/worker/metrics.ts";
import { Answerer } from "#apps/worker/turnloop/answer.ts";
import { Batch } from "#apps/worker/turnloop/batch.ts";
import { Slots } from "#apps/worker/turnloop/slots.ts";
import { States } from "#apps/worker/turnloop/states.ts";
import { every, over } from "#infra/clock/clock.ts";
import { StopListener } from "#infra/control/control.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { LivePublisher } from "#infra/live/live.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import type { Log } from "#infra/telemetry/log.ts";
import { sweepMailboxes, sweepMs, type Wake } from "#infra/wake/sweep.ts";
import { SimEngine } from "./engine.ts";
import { fingerprint, modelName, tokenizer } from "./model.ts";
import type { SimProcess } from "./process.ts";
import type { SimWakes } from "./wakes.ts";
import type { World } from "./world.ts";

const slotCount = 3;
/** Turns may finish for this long after a worker was asked to leave, ms. */
const drainMsMax = 1_500;
const metrics = createWorkerMetrics(new Registry(), () => 0);

export interface WorkerParts {
  readonly world: World;
  readonly process: SimProcess;
  readonly truth: ScriptedRedis;
  readonly state: ScriptedRedis;
  readonly control: ScriptedRedis;
  readonly wakes: SimWakes;
  readonly log: Log;
  /** A turn has crashed the model: the process must end. */
  readonly onPoison: () => void;
}

export class SimWorker {
  readonly process: SimProcess;
  readonly #parts: WorkerParts;
  readonly #answerer: Answerer;
  readonly #slots = new Slots(slotCount);
  readonly #states: States;
  #running = 0;
  #leaving = false;

  constructor(parts: WorkerParts) {
    const { control, log, onPoison, process, state, truth, wakes, world } = parts;
    const { clock } = process;
    this.#parts = parts;
    this.process = process;
    const engine = new SimEngine(world, process, { slots: slotCount, onPoison });
    const ledger = new Ledger(truth);
    const mailbox = new Mailbox(truth);
    const stores = { ledger, mailbox, snapshots: new SnapshotStore(state) };
    this.#states = new States(engine, stores, { fingerprint, log, clock });
    const bell = wakes.bell(process);
    this.#answerer = new Answerer({
      worker: process.name,
      numericClass: engine.info.numericClass,
      fingerprint,
      messageTokensMax: 512,
      truth,
      mailbox,
      ledger,
      live: new LivePublisher(state),
      stops: new StopListener(control),
      bell,
      tokenizer,
      batch: new Batch(engine, metrics.step),
      slots: this.#slots,
      states: this.#states,
      clock,
      metrics,
      log,
    });
    wakes.join({
      process,
      ready: () => !this.#leaving && this.#running < slotCount,
      answer: (wake) => this.#answer(wake),
    });
    const until = new AbortController().signal;
    void every(clock, { ms: sweepMs, until }, () => {
      sweepMailboxes(truth, bell, modelName).catch(() => undefined);
    });
  }

  /** As after SIGTERM: takes nothing new, hands over what does not finish, saves what it holds. */
  async drain(): Promise<void> {
    this.#leaving = true;
    const { clock } = this.process;
    // Nearly all replies end in time: with less patience there is something to hand over.
    const patienceMs = this.#parts.world.random.chance(0.5) ? 0 : drainMsMax;
    const left = new AbortController();
    void clock.sleep(patienceMs, left.signal).then(() => this.#answerer.leave());
    for (let waitedMs = 0; this.#running > 0 && waitedMs < 2 * drainMsMax; waitedMs += 100) {
      await clock.sleep(100);
    }
    left.abort(over);
    for (const { slot, tenant } of this.#slots.idle()) {
      await this.#states.saveIdle(slot, tenant).catch(() => undefined);
    }
    this.#parts.wakes.leave(this.process);
  }

  async #answer(wake: Wake): Promise<void> {
    this.#running++;
    try {
      await this.#answerer.answer(wake);
    } finally {
      this.#running--;
    }
  }
}
