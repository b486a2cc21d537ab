/** One seed: a platform lives through its faults, gets a quiet time, and is looked at. */
import type { Translator } from "#infra/i18n/i18n.ts";
import { checkAll } from "../invariants/check.ts";
import { expectedParts } from "../invariants/expected.ts";
import type { Violation } from "../invariants/violation.ts";
import { conversationId } from "#infra/turn/index.ts";
import { applicationId } from "./discord.ts";
import { Faults } from "./faults.ts";
import { SimPlatform } from "./platform.ts";
import type { Lua } from "./redis/lua.ts";
import type { Store } from "./redis/store.ts";
import { Users, wordOf } from "./users.ts";
import { Witness } from "./witness.ts";
import { World } from "./world.ts";
import { openRepliesKey } from "#infra/redis/keys.ts";

/** Everything must be finished this long after the last fault. */
const quietMsMax = 240_000;
const lookMs = 500;
/** Time for what comes late: a doubled event, an answer's mark. */
const afterMs = 25_000;

export interface RunOptions {
  readonly seed: number;
  readonly turns: number;
  readonly lua: Lua;
  readonly translator: Translator;
  readonly edit?: (name: string, lua: string) => string;
  readonly trace?: (line: string) => void;
}

export interface SeedResult {
  readonly seed: number;
  /** Turns that were put into a mailbox. */
  readonly turns: number;
  readonly virtualMs: number;
  readonly violations: readonly Violation[];
}

export async function runSeed(options: RunOptions): Promise<SeedResult> {
  const { seed, translator, turns } = options;
  const world = new World(seed);
  const witness = new Witness();
  const platform = new SimPlatform({ ...options, world, witness });
  const faults = new Faults(platform, world);
  const { random } = world;
  const habit = (max: number): number => (random.chance(0.6) ? random.between(0, max) : 0);
  const habits = {
    chat: habit(0.3),
    undo: habit(0.08),
    reset: habit(0.03),
    again: habit(0.15),
    stop: habit(0.08),
    poison: habit(0.03),
  };
  const users = new Users({ world, witness, habits, ...platform }, turns);
  const channels = Array.from({ length: 3 + random.below(6) }, (_, index) => `${10 + index}`);
  world.after(1_000, () => channels.forEach((channel) => users.enter(channel)));

  watchFor(world, () => users.finished, Infinity);
  await world.drive();
  faults.end();
  const quietFromMs = world.nowMs;
  watchFor(world, () => platform.truth.at(isSettled), quietMsMax);
  await world.drive();
  if (world.nowMs - quietFromMs < quietMsMax) {
    world.after(afterMs, () => watchFor(world, () => platform.truth.at(isSettled), quietMsMax));
    await world.drive();
  }
  const conversations = channels.map(
    (channel) => [conversationId(`discord-${channel}`), channel] as const,
  );
  const violations = checkAll({
    truth: platform.dump("truth"),
    state: platform.dump("state"),
    said: [...witness.said.values()],
    shown: platform.discord.shown(),
    expected: expectedParts(translator),
    quiet: true,
    marks: new Map(conversations.map(([id, channel]) => [id, wordOf(channel)])),
  });
  return {
    seed,
    turns: witness.said.size,
    virtualMs: world.nowMs,
    violations: [...witness.violations, ...violations],
  };
}

/** Looks every now and then, and ends the drive when what it looks for is there, or too late. */
function watchFor(world: World, done: () => boolean, msMax: number): void {
  const untilMs = world.nowMs + msMax;
  const look = (): void => {
    if (done() || world.nowMs >= untilMs) world.stop();
    else world.after(lookMs, look);
  };
  world.after(lookMs, look);
}

function isSettled(store: Store): boolean {
  const unfinished = /:(?:mailbox|lease|outbox)$/;
  if (store.value(openRepliesKey(applicationId)) !== undefined) return false;
  return !store.keys().some((key) => unfinished.test(key));
}
