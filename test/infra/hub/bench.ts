/** What every test of a pull needs: a hub, a folder, a clock that does not wait, what was told. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "#infra/clock/clock.ts";
import { systemClock } from "#infra/clock/clock.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { Hub } from "#infra/hub/hub.ts";
import { pull, type Pulled, type PullOptions } from "#infra/hub/pull.ts";
import { HubDouble } from "#test/doubles/hub/double.ts";

export class Bench {
  readonly hub: HubDouble;
  readonly models: string = mkdtempSync(join(tmpdir(), "eyrie-pull-"));
  /** How long pulls wanted to wait before another try. */
  readonly waits: number[] = [];
  readonly told: string[] = [];
  /** Called with the bytes of the file on its way. */
  onBytes: (received: number) => void = () => {};

  private constructor(hub: HubDouble) {
    this.hub = hub;
  }

  static async start(): Promise<Bench> {
    return new Bench(await HubDouble.start());
  }

  async close(): Promise<void> {
    await this.hub.close();
    rmSync(this.models, { recursive: true, force: true });
  }

  pull(wanted: string, options: Partial<PullOptions> & { token?: string } = {}): Promise<Pulled> {
    const clock: Clock = {
      ...systemClock,
      sleep: (ms) => {
        this.waits.push(ms);
        return systemClock.sleep(5);
      },
    };
    return pull(wanted, {
      hub: new Hub(this.hub.url, options.token),
      modelsDirectory: this.models,
      clock,
      signal: new AbortController().signal,
      watcher: {
        waiting: () => this.told.push("waiting"),
        file: (name, { index, count }) => this.told.push(`${name} ${index}/${count}`),
        bytes: (received) => this.onBytes(received),
        retry: (reason) => this.told.push(`retry: ${reason}`),
      },
      ...options,
    });
  }

  /** The error that a pull ends with. */
  async refusal(
    wanted: string,
    options: Partial<PullOptions> & { token?: string } = {},
  ): Promise<EyrieError> {
    try {
      await this.pull(wanted, options);
    } catch (error) {
      if (error instanceof EyrieError) return error;
      throw error;
    }
    throw new Error("it was pulled");
  }

  read(...path: string[]): Buffer {
    return readFileSync(join(this.models, ...path));
  }
}
