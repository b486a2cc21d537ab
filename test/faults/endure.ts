/**
 * A platform under open load and random faults for as long as asked: turns come when they come,
 * whether or not the last ones are answered; every few seconds something breaks; every answer is
 * checked against the oracle as soon as it stands.
 *
 * The seed decides what is said and what breaks, and when; what happens then is up to the machine.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { mailboxLengthMax } from "#infra/mailbox/mailbox.ts";
import { seededRandom } from "#test/doubles/discord/faults.ts";
import { Audit, type Fault } from "./audit.ts";
import { MemoryLog, type Slope } from "./memory.ts";
import { mischiefs, nuisances, pick, type Random } from "./mischief.ts";
import { patienceMs, Scene } from "./scene.ts";

export interface Endurance {
  /** Ends after this long, or after so many turns; whichever is given. */
  readonly minutes?: number;
  readonly turns?: number;
  readonly seed: number;
  readonly turnsPerSecond: number;
  readonly channels: number;
  readonly faultEveryMs: number;
  /** No fault ends a process of ours: what their memory does over the whole time can be seen. */
  readonly sparing?: boolean;
  /** The gateway sends as much as it can: at Discord's pace a bot ends some ten turns a second. */
  readonly lifted?: boolean;
  readonly onProgress: (line: string) => void;
}

export interface Endured extends Readonly<Record<Fault, number>> {
  readonly minutes: number;
  readonly turns: number;
  /** Answered by an error with a name. */
  readonly failed: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly findings: readonly string[];
  readonly memory: readonly Slope[];
  /** The steepest; null when no process lived long enough. */
  readonly rssSlopeBytesPerMinute: number | null;
  /** The same of what is left after a collection; null unless sparing. */
  readonly heapSlopeBytesPerMinute: number | null;
}

const workers = 2;
const lookEveryMs = 2_000;
const progressEveryMs = 10_000;

export async function endure(wish: Endurance): Promise<Endured> {
  const scene = await Scene.open({
    workers,
    channels: wish.channels,
    lifted: wish.lifted ?? false,
    environment: { EYRIE_LOG_LEVEL: "warn", EYRIE_SLOTS: "64" },
  });
  try {
    return await run(scene, wish);
  } finally {
    await scene.close();
  }
}

async function run(scene: Scene, wish: Endurance): Promise<Endured> {
  const startedMs = performance.now();
  const endMs = startedMs + (wish.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
  const audit = new Audit(scene);
  const memory = new MemoryLog();
  const faults: Record<string, number> = {};
  let said = 0;
  const going = (): boolean => performance.now() < endMs && said < (wish.turns ?? Infinity);
  const endSupervision = [scene.supervise(), scene.superviseGateway()];
  const speaking = speak(scene, { wish, audit, going, onSaid: () => void said++ });
  const breaking = breakThings(scene, { wish, going, faults });
  const watching = watch(scene, { audit, memory, going, wish });
  await Promise.all([speaking, breaking, watching]);
  scene.double.restFaults.clear();
  scene.double.deliveryFaults.clear();
  await rest(audit);
  await audit.close();
  // What the processes said last tells more than what they did not do.
  if (audit.findings.length > 0) wish.onProgress(scene.lastLines());
  for (const end of endSupervision) await end();
  const slopes = memory.slopes();
  return {
    minutes: Math.round((performance.now() - startedMs) / 6_000) / 10,
    turns: audit.turns,
    failed: audit.failed,
    ...audit.counts,
    faults,
    findings: audit.findings,
    memory: slopes,
    rssSlopeBytesPerMinute: steepest(slopes.map((one) => one.bytesPerMinute)),
    heapSlopeBytesPerMinute: steepest(slopes.map((one) => one.heapBytesPerMinute)),
  };
}

function steepest(slopes: readonly (number | null)[]): number | null {
  const known = slopes.filter((slope) => slope !== null);
  return known.length === 0 ? null : Math.max(...known);
}

/** Until everything is answered, or nothing has been for as long as patience lasts. */
async function rest(audit: Audit): Promise<void> {
  let [left, sinceMs] = [audit.waiting(), performance.now()];
  while (left > 0 && performance.now() - sinceMs < patienceMs) {
    await sleep(Math.min(lookEveryMs, left * 100));
    await audit.look();
    if (audit.waiting() < left) [left, sinceMs] = [audit.waiting(), performance.now()];
  }
}

async function speak(
  scene: Scene,
  parts: {
    readonly wish: Endurance;
    readonly audit: Audit;
    readonly going: () => boolean;
    readonly onSaid: () => void;
  },
): Promise<void> {
  const { wish, audit, going, onSaid } = parts;
  const random = seededRandom(wish.seed);
  let dueMs = performance.now();
  for (let number = 0; going(); number++) {
    // Poisson arrivals, at times that do not wait for anything.
    dueMs += (-Math.log(1 - random()) * 1_000) / wish.turnsPerSecond;
    const channel = pick(scene.channels, random)!;
    const text = `turn ${number} [words=${3 + Math.floor(random() * 20)}] [ms=${Math.floor(random() * 12)}]`;
    await sleep(Math.max(0, dueMs - performance.now()));
    // A full mailbox refuses, rightly; that is not what is looked at here.
    if (audit.waiting(channel) >= mailboxLengthMax) continue;
    audit.say(text, channel);
    onSaid();
  }
}

async function breakThings(
  scene: Scene,
  parts: {
    readonly wish: Endurance;
    readonly going: () => boolean;
    readonly faults: Record<string, number>;
  },
): Promise<void> {
  const { wish, going, faults } = parts;
  const random: Random = seededRandom(wish.seed ^ 0x5eed);
  const ours = wish.sparing === true ? nuisances : mischiefs;
  const names = Object.keys(ours);
  while (going()) {
    const dueMs = performance.now() + wish.faultEveryMs * (0.5 + random());
    while (going() && performance.now() < dueMs) await sleep(lookEveryMs / 10);
    const name = pick(names, random)!;
    if (!going()) return;
    wish.onProgress(name);
    await ours[name]!(scene, random);
    faults[name] = (faults[name] ?? 0) + 1;
  }
}

async function watch(
  scene: Scene,
  parts: {
    readonly wish: Endurance;
    readonly audit: Audit;
    readonly memory: MemoryLog;
    readonly going: () => boolean;
  },
): Promise<void> {
  const { wish, audit, memory, going } = parts;
  let toldMs = performance.now();
  while (going()) {
    await sleep(lookEveryMs);
    await audit.look();
    const how = { collect: wish.sparing === true };
    for (const worker of scene.workers) memory.sample("worker", worker, how);
    if (scene.gateway !== null) memory.sample("gateway", scene.gateway, how);
    if (performance.now() - toldMs < progressEveryMs) continue;
    toldMs = performance.now();
    const wrong = Object.entries(audit.counts).map(([name, count]) => `${count} ${name}`);
    wish.onProgress(`${audit.turns} turns, ${audit.waiting()} open; ${wrong.join(", ")}`);
  }
}
