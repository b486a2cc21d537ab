/**
 * What goes wrong, drawn by seed: each run has some kinds of faults and not others, in its own
 * density, so that rare combinations are met as well as single ones.
 */
import type { SimPlatform } from "./platform.ts";
import type { World } from "./world.ts";

type Deed = (platform: SimPlatform, world: World) => void;

const deeds: Readonly<Record<string, Deed>> = {
  killWorker: (platform, { random }) => {
    const names = [...platform.workers.keys()];
    if (names.length > 0) platform.killWorker(random.pick(names));
  },
  freezeWorker: (platform, { random }) => {
    const names = [...platform.workers.keys()];
    // Longer than a lease: it wakes up as somebody who lost everything and does not know.
    if (names.length > 0) platform.freezeWorker(random.pick(names), random.between(1_000, 15_000));
  },
  drainWorker: (platform, { random }) => {
    const names = [...platform.workers.keys()];
    if (names.length > 0) void platform.drainWorker(random.pick(names));
  },
  killGateway: (platform) => platform.killGateway(),
  freezeGateway: (platform, { random }) => platform.gateway?.freeze(random.between(500, 8_000)),
  disconnectGateway: (platform) => platform.shard.disconnect(),
  restartTruth: (platform, { random }) =>
    platform.truth.restart(random.between(50, 3_000), { empty: false }),
  restartState: (platform, { random }) =>
    platform.state.restart(random.between(50, 3_000), { empty: false }),
  loseState: (platform, { random }) =>
    platform.state.restart(random.between(50, 3_000), { empty: true }),
  spoilSnapshot: (platform, world) => spoilSnapshot(platform, world),
  fillTruth: (platform, world) => fill(platform.truth.store, world),
  fillState: (platform, world) => fill(platform.state.store, world),
  jumpClock: (platform, { random }) => {
    // Leases run out early. Back again they would only last longer.
    platform.truth.skewMs += random.between(0, 5_000);
  },
};

function fill(store: { full: boolean }, world: World): void {
  store.full = true;
  world.after(world.random.between(100, 3_000), () => {
    store.full = false;
  });
}

/** One bit of one snapshot flips, or its end is missing. */
function spoilSnapshot(platform: SimPlatform, { random }: World): void {
  platform.state.at((store) => {
    const keys = store.keys().filter((key) => key.includes("}:snapshot:"));
    if (keys.length === 0) return;
    const hash = store.value(random.pick(keys.sort()));
    if (hash?.kind !== "hash") return;
    for (const [field, chunk] of hash.fields) {
      const bytes = Buffer.from(chunk, "latin1");
      const at = random.below(bytes.length);
      bytes[at]! ^= 1 << random.below(8);
      const cut = random.chance(0.1) ? at : bytes.length;
      hash.fields.set(field, bytes.toString("latin1", 0, cut));
    }
  });
}

/** Scripts around which a process dies, freezes or loses its connection; each sort of ending. */
const endings = ["kill", "freeze", "cut"] as const;

export class Faults {
  readonly #platform: SimPlatform;
  readonly #world: World;
  #over = false;

  constructor(platform: SimPlatform, world: World) {
    this.#platform = platform;
    this.#world = world;
    const { random } = world;
    const some = (max: number): number => (random.chance(0.5) ? random.between(0, max) : 0);
    for (const deed of Object.values(deeds)) {
      if (random.chance(0.4)) this.#repeat(deed, random.between(4_000, 60_000));
    }
    Object.assign(platform.wakes.trouble, { lost: some(0.5), doubled: some(0.2), late: some(0.3) });
    Object.assign(platform.discord.trouble, { failing: some(0.05), unanswered: some(0.05) });
    Object.assign(platform.shard.trouble, { doubled: some(0.1), swapped: some(0.1) });
    const strikes = some(0.03);
    platform.strike = (when, script, name) =>
      this.#over || !random.chance(strikes) || this.#strikeAt(when, script, name);
  }

  /** From now on everything works, and what was broken is mended. */
  end(): void {
    this.#over = true;
    const { discord, shard, state, truth, wakes } = this.#platform;
    Object.assign(wakes.trouble, { lost: 0, doubled: 0, late: 0 });
    Object.assign(discord.trouble, { failing: 0, unanswered: 0 });
    Object.assign(shard.trouble, { doubled: 0, swapped: 0 });
    truth.store.full = false;
    state.store.full = false;
  }

  #repeat(deed: Deed, meanMs: number): void {
    const { random } = this.#world;
    // The first session of the gateway is stored by then: what comes before it nobody replays.
    const pause = 1_500 + -Math.log(1 - random.unit()) * meanMs;
    this.#world.after(pause, () => {
      if (this.#over) return;
      deed(this.#platform, this.#world);
      this.#repeat(deed, meanMs);
    });
  }

  #strikeAt(when: "before" | "after", script: string, name: string): boolean {
    const { random } = this.#world;
    if (this.#world.nowMs < 1_500) return true;
    const ending = random.pick(endings);
    if (ending === "cut") return false;
    const gateway = this.#platform.gateway;
    if (gateway?.name === name) {
      if (ending === "kill") this.#platform.killGateway();
      else gateway.freeze(random.between(500, 8_000));
    } else if (ending === "kill") this.#platform.killWorker(name);
    else this.#platform.freezeWorker(name, random.between(1_000, 15_000));
    void when;
    void script;
    return true;
  }
}
