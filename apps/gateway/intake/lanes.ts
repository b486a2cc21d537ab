/**
 * Turns of one channel are queued in the order they came, turns of different channels side by side.
 * A lane exists while something runs in it.
 */
export class Lanes {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs `task` after the lane's earlier ones. The promise is that of `task`. */
  async run<T>(lane: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(lane) ?? Promise.resolve();
    const run = before.then(task);
    // The next one waits for this one's end, whatever end that is.
    const tail: Promise<void> = run
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => this.#leave(lane, tail));
    this.#tails.set(lane, tail);
    return run;
  }

  /** Resolves when all lanes are empty. */
  async idle(): Promise<void> {
    while (this.#tails.size > 0) await Promise.all(this.#tails.values());
  }

  #leave(lane: string, tail: Promise<void>): void {
    if (this.#tails.get(lane) === tail) this.#tails.delete(lane);
  }
}
