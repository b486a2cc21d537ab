/**
 * A worker: an engine, a batch, and a hand on the model's wake queue.
 *
 * It owns the only mutable model state. It may die at any moment: what it held is claimed by others
 * when its leases run out. Asked to close, it is ready no more and takes no new turns, lets running
 * ones finish for a while, hands the rest over with what they have said so far, and saves the states
 * it holds; all of it in bounded time, whichever Redis is away.
 */
import { randomBytes } from "node:crypto";
import { systemClock, within } from "#infra/clock/clock.ts";
import { physicalCores } from "#infra/process/cores.ts";
import { type Config, type RedisUrls, wantedVariant } from "#infra/config/config.ts";
import { StopListener } from "#infra/control/control.ts";
import { Conversations } from "#infra/conversation/conversations.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { LivePublisher } from "#infra/live/live.ts";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { batchWrites } from "#infra/redis/batching.ts";
import { connectRedis, duplicateRedis } from "#infra/redis/client.ts";
import { openRecords } from "#infra/redis/records.ts";
import { assertSafe } from "#infra/redis/safety.ts";
import { SnapshotStore } from "#infra/snapshot/snapshot.ts";
import { createMetrics, serveHealth } from "#infra/telemetry/health.ts";
import { errorFields, type Log } from "#infra/telemetry/log.ts";
import { answerWakes, sweepMs, WakeBell } from "#infra/wake/wake.ts";
import { announceWorker, withdrawWorker } from "#infra/wake/workers.ts";
import { Engine } from "./engine/engine.ts";
import { createWorkerMetrics } from "./metrics.ts";
import { openWorkerModel } from "./model.ts";
import { Answerer } from "./turnloop/answer.ts";
import { Batch } from "./turnloop/batch.ts";
import { Parked } from "./turnloop/parked.ts";
import { Slots } from "./turnloop/slots.ts";
import { States } from "./turnloop/states.ts";

const announceMs = 1_000;
const dayMs = 24 * 3600_000;
/** How often conversations that nobody uses are looked for. */
const idleSweepMs = 10 * 60_000;
/** An answer of the state Redis is not waited for longer; what it holds can be had otherwise. */
const stateMsMax = 2_000;
/** With {@link Config.EYRIE_DRAIN_SECONDS}, of 12 at most, a close takes less than 25 s. */
const handOverMsMax = 3_000;
const saveMsMax = 8_000;
const goodbyeMsMax = 500;

export interface RunningWorker {
  readonly id: string;
  readonly port: number;
  /** Rejects when the engine is lost; the process must then exit. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

/** Of `EngineOptions.backendModule`. */
export interface WorkerOptions {
  readonly log: Log;
  readonly backendModule?: string;
}

export async function startWorker(
  config: Config,
  addresses: RedisUrls,
  { log, backendModule }: WorkerOptions,
): Promise<RunningWorker> {
  const model = await openWorkerModel(config.EYRIE_MODEL, wantedVariant(config));
  const engine = await Engine.open({
    modelDirectory: config.EYRIE_MODEL,
    quantise: wantedVariant(config),
    backend: config.EYRIE_BACKEND,
    backendModule,
    stateCodec: config.EYRIE_STATE_CODEC,
    slots: config.EYRIE_SLOTS,
    threads: config.EYRIE_THREADS === 0 ? physicalCores() : config.EYRIE_THREADS,
  });
  const truth = await connectRedis(addresses.truthUrl);
  const records = await openRecords(config, truth);
  const state = await connectRedis(addresses.stateUrl, { commandMsMax: stateMsMax });
  const production = config.EYRIE_PROFILE === "production";
  await assertSafe({ truth, state }, { production, log });
  const control = await duplicateRedis(truth);
  for (const client of [truth, state, control]) batchWrites(client);
  const bell = new WakeBell(truth);
  const ledger = new Ledger(truth, records);
  const mailbox = new Mailbox(truth, records);
  const id = randomBytes(6).toString("hex");
  const registry = createMetrics();
  const metrics = createWorkerMetrics(registry, () => batch.running);
  const batch = new Batch(engine, metrics.step);
  const slots = new Slots(engine.info.slots);
  const states = new States(
    engine,
    { ledger, mailbox, snapshots: new SnapshotStore(state, records) },
    {
      fingerprint: model.fingerprint,
      parked: new Parked(config.EYRIE_PARKED_MIB * 2 ** 20),
      metrics,
      clock: systemClock,
      log,
    },
  );
  const answerer = new Answerer({
    worker: id,
    numericClass: engine.info.numericClass,
    fingerprint: model.fingerprint,
    messageTokensMax: config.EYRIE_MESSAGE_TOKENS_MAX,
    truth,
    mailbox,
    ledger,
    live: new LivePublisher(state, records),
    stops: new StopListener(control),
    bell,
    tokenizer: model.tokenizer,
    batch,
    slots,
    states,
    clock: systemClock,
    metrics,
    log,
  });

  let draining = false;
  const health = await serveHealth({
    host: config.EYRIE_HTTP_HOST,
    port: config.EYRIE_WORKER_PORT,
    metrics: registry,
    readiness: () => {
      if (draining) return { ready: false, reason: "draining" };
      return truth.status === "ready" ? { ready: true } : { ready: false, reason: "no redis" };
    },
  });
  const wakes = await answerWakes(
    truth,
    { model: model.name, concurrency: engine.info.slots },
    (wake) => answerer.answer(wake),
  );
  const info = {
    id,
    model: model.name,
    backend: engine.info.name,
    numericClass: engine.info.numericClass,
    slots: engine.info.slots,
  };
  await announceWorker(truth, info);
  const announcer = setInterval(() => {
    announceWorker(truth, info).catch((error: unknown) => {
      log.warn("not announced", errorFields(error));
    });
  }, announceMs);
  const conversations = new Conversations({ truth, state }, bell, records);
  const idleMs = config.EYRIE_IDLE_DAYS * dayMs;
  async function deleteIdle(): Promise<void> {
    try {
      const deleted = idleMs === 0 ? 0 : await conversations.deleteIdle(idleMs);
      if (deleted > 0) log.info("idle conversations deleted", { deleted });
    } catch (error) {
      log.warn("idle conversations not deleted", errorFields(error));
    }
  }
  void deleteIdle();
  const cleaner = setInterval(() => void deleteIdle(), idleSweepMs);
  const sweeper = setInterval(() => {
    bell.sweep(model.name).catch((error: unknown) => {
      log.warn("sweep failed", errorFields(error));
    });
  }, sweepMs);
  log.info("worker ready", {
    worker: id,
    model: model.name,
    numericClass: engine.info.numericClass,
    slots: engine.info.slots,
    port: health.port,
  });

  async function close(): Promise<void> {
    draining = true;
    clearInterval(announcer);
    clearInterval(sweeper);
    clearInterval(cleaner);
    await politely("not withdrawn", goodbyeMsMax, withdrawWorker(truth, info));
    const drainMs = config.EYRIE_DRAIN_SECONDS * 1_000;
    const patience = setTimeout(() => answerer.leave(), drainMs);
    await politely("turns left to their leases", drainMs + handOverMsMax, wakes.close());
    clearTimeout(patience);
    const saved = states.saveAll(slots.idle(), AbortSignal.timeout(saveMsMax));
    await politely("states not saved", saveMsMax + goodbyeMsMax, saved);
    const ends = Promise.all([health.close(), bell.close(), engine.close()]);
    await politely("not closed cleanly", goodbyeMsMax, ends);
    for (const client of [control, truth, state]) client.disconnect();
  }

  /** What cannot be done in time is not done: everything here is repaired by others. */
  async function politely(otherwise: string, ms: number, work: Promise<unknown>): Promise<void> {
    try {
      await within(systemClock, ms, work);
    } catch (error) {
      log.warn(otherwise, errorFields(error));
    }
  }

  return { id, port: health.port, failed: engine.failed, close };
}
