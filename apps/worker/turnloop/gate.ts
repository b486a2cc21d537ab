/**
 * Lets turns run side by side, or one of them alone: a turn whose workers have died twice. If it is the
 * culprit it now dies without company, and nobody else is suspected because of it.
 *
 * First come, first served: who wants to be alone waits for those inside, and those who come later wait
 * for it. Whoever was let in must leave.
 */
interface Waiting {
  readonly alone: boolean;
  readonly letIn: () => void;
}

export class Gate {
  #inside = 0;
  #alone = false;
  readonly #waiting: Waiting[] = [];

  /** Resolves when one may go in, to the function that says that one has left. */
  async enter(options: { readonly alone: boolean } = { alone: false }): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ ...options, letIn: resolve });
    this.#admit();
    await promise;
    return () => {
      this.#inside--;
      this.#alone = false;
      this.#admit();
    };
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const fits = next.alone ? this.#inside === 0 : !this.#alone;
      if (!fits) return;
      this.#waiting.shift();
      this.#inside++;
      this.#alone = next.alone;
      next.letIn();
    }
  }
}
