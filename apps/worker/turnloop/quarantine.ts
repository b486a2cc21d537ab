/**
 * Who may run beside whom. Ordinary turns run together; a suspect, whose head was claimed by workers
 * that then died, runs alone in its process, so that a turn that kills workers takes no innocent one
 * with it and is not confused with those that stood beside it when it did.
 *
 * First come, first served: a suspect waits for those inside, and those behind it wait for it. Enter
 * before claiming: who waits here holds nothing, and is not blamed when the process dies.
 */
interface Waiting {
  readonly alone: boolean;
  readonly enter: () => void;
}

export class Quarantine {
  readonly #queue: Waiting[] = [];
  #inside = 0;
  #suspectInside = false;

  /** Resolves with the way out, to be called once. */
  async enter(options: { readonly alone: boolean }): Promise<() => void> {
    const { alone } = options;
    await new Promise<void>((enter) => {
      this.#queue.push({ alone, enter });
      this.#admit();
    });
    return () => {
      this.#inside--;
      if (alone) this.#suspectInside = false;
      this.#admit();
    };
  }

  #admit(): void {
    for (;;) {
      const [next] = this.#queue;
      if (next === undefined || this.#suspectInside || (next.alone && this.#inside > 0)) return;
      this.#queue.shift();
      this.#inside++;
      this.#suspectInside = next.alone;
      next.enter();
    }
  }
}
