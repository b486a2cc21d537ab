/**
 * Virtual time: what happens is a queue of events, and time is that of the event that happens now.
 *
 * Between two events everything that waits for nothing but promises has run. So a run is a function
 * of its seed: the machine's speed changes nothing, and an hour passes as fast as it can be computed.
 */
import { Random } from "./random.ts";

interface Event {
  readonly atMs: number;
  /** Events of one moment happen in the order they were planned. */
  readonly order: number;
  readonly run: () => void;
}

/** Node lets promises settle between two immediates, and queues several of them at little cost. */
const eventsAtOnce = 64;

export class World {
  readonly random: Random;
  #nowMs = 0;
  #orders = 0;
  readonly #heap: Event[] = [];
  #stopped = false;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Plans an event `ms` from now. */
  after(ms: number, run: () => void): void {
    this.#push({ atMs: this.#nowMs + Math.max(0, ms), order: this.#orders++, run });
  }

  /** Ends {@link drive} after this event. */
  stop(): void {
    this.#stopped = true;
  }

  /** Lets events happen until told to stop, or none is left. */
  async drive(): Promise<void> {
    this.#stopped = false;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const batch = (): void => {
      for (let left = eventsAtOnce; left > 0; left--) setImmediate(left === 1 ? last : one);
    };
    const one = (): void => {
      const event = this.#stopped ? undefined : this.#pop();
      if (event === undefined) return;
      this.#nowMs = event.atMs;
      try {
        event.run();
      } catch (error) {
        this.#stopped = true;
        reject(error);
      }
    };
    const last = (): void => {
      one();
      if (this.#stopped || this.#heap.length === 0) setImmediate(resolve);
      else batch();
    };
    batch();
    await promise;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = heap[parent]!;
      if (!isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const moved = heap.pop();
    if (moved === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, moved)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = moved;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
