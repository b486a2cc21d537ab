/**
 * A process of the platform: something that can be killed and frozen. Everything that reaches it
 * (timers, answers, messages) comes through `deliver`, so a killed one never goes on, and a frozen one
 * goes on later with everything that came meanwhile, as after SIGSTOP and SIGCONT.
 */
import type { Clock } from "#infra/clock/clock.ts";
import type { World } from "./world.ts";

/** 2026-01-01T00:00:00Z: where virtual time begins on the wall. */
export const wallStartMs = 1_767_225_600_000;

export class SimProcess {
  readonly name: string;
  readonly clock: Clock;
  readonly #world: World;
  #alive = true;
  #frozen = false;
  #waiting: (() => void)[] = [];

  /** `skewMs`: how wrong its wall clock is. */
  constructor(world: World, name: string, skewMs: number) {
    this.name = name;
    this.#world = world;
    this.clock = {
      nowMs: () => wallStartMs + world.nowMs + skewMs,
      monotonicMs: () => world.nowMs,
      sleep: (ms, signal) => this.#sleep(ms, signal),
    };
  }

  get alive(): boolean {
    return this.#alive;
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  deliver(run: () => void): void {
    if (!this.#alive) return;
    if (this.#frozen) this.#waiting.push(run);
    else run();
  }

  kill(): void {
    this.#alive = false;
    this.#waiting = [];
  }

  freeze(ms: number): void {
    if (this.#frozen || !this.#alive) return;
    this.#frozen = true;
    this.#world.after(ms, () => this.#thaw());
  }

  #thaw(): void {
    this.#frozen = false;
    // One event each, so that promises settle in between as they would.
    for (const run of this.#waiting.splice(0)) this.#world.after(0, () => this.deliver(run));
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((done) => {
      if (signal?.aborted === true) return done();
      const finish = (): void => {
        signal?.removeEventListener("abort", finish);
        done();
      };
      signal?.addEventListener("abort", finish, { once: true });
      this.#world.after(ms, () => this.deliver(finish));
    });
  }
}
