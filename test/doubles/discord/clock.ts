/**
 * The double's own clock and ids. Real time plus a skew, so a test can let minutes pass at once
 * (interaction tokens, old edits, session lifetimes) while timers stay real.
 */
const discordEpochMs = 1_420_070_400_000;

export class DoubleClock {
  #skewMs = 0;

  now(): number {
    return Date.now() + this.#skewMs;
  }

  /** Jumps ahead; never back, so ids stay ordered. */
  pass(ms: number): void {
    if (ms < 0) throw new RangeError("the double's clock only goes forward");
    this.#skewMs += ms;
  }
}

/** Snowflakes with the real time inside (17 to 19 digits), strictly increasing. */
export class Snowflakes {
  readonly #clock: DoubleClock;
  #last = 0n;

  constructor(clock: DoubleClock) {
    this.#clock = clock;
  }

  next(): string {
    const floor = BigInt(this.#clock.now() - discordEpochMs) << 22n;
    this.#last = floor > this.#last ? floor : this.#last + 1n;
    return this.#last.toString();
  }
}

/** Unix ms at which a snowflake was made. */
export function snowflakeMs(id: string): number {
  return Number(BigInt(id) >> 22n) + discordEpochMs;
}

export const isSnowflake = (text: string): boolean => /^\d{17,19}$/.test(text);
