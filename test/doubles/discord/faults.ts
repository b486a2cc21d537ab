/**
 * Fault switches. `RestFaults` decides what goes wrong with the next requests of a route,
 * `DeliveryFaults` what happens to events on their way to a client. Random ones draw from a seed,
 * so a failing run can be repeated. Nothing is faulty until switched on.
 */

export type RestFault =
  | {
      readonly kind: "rate-limit";
      /** `shared` does not count as an invalid request. */
      readonly scope?: "user" | "shared" | "global";
      readonly retryAfterMs?: number;
      /** false: no header at all, the delay stands only in the body. */
      readonly headers?: boolean;
    }
  | { readonly kind: "server-error" }
  /** 502 with an HTML page, as from a proxy. */
  | { readonly kind: "bad-gateway" }
  /** 403 with an HTML page and no code of Discord's, as from a proxy. */
  | { readonly kind: "blocked" }
  /** 401, though the token is right. */
  | { readonly kind: "unauthorized" }
  /** The request is done, then the connection is reset before the answer. */
  | { readonly kind: "lose-answer" }
  /** The connection is reset before anything is done. */
  | { readonly kind: "lose-request" }
  | { readonly kind: "delay"; readonly ms: number };

interface Armed {
  readonly route: string;
  readonly fault: RestFault;
  readonly chance: number;
  left: number;
}

/** Mulberry32: small, seeded, good enough to scatter faults. */
export function seededRandom(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class RestFaults {
  readonly #routes: ReadonlySet<string>;
  #random: () => number;
  #armed: Armed[] = [];

  constructor(routes: ReadonlySet<string>, seed: number) {
    this.#routes = routes;
    this.#random = seededRandom(seed);
  }

  /** The next `times` requests of `route` ("POST /channels/:channel/messages" or "*") fail so. */
  next(route: string, fault: RestFault, options: { times?: number; chance?: number } = {}): void {
    if (route !== "*" && !this.#routes.has(route)) {
      throw new RangeError(`no route ${route}; there are:\n${[...this.#routes].join("\n")}`);
    }
    const { times = 1, chance = 1 } = options;
    this.#armed.push({ route, fault, chance, left: times });
  }

  take(route: string): RestFault | null {
    const hit = this.#armed.find(
      (armed) =>
        (armed.route === route || armed.route === "*") &&
        (armed.chance >= 1 || this.#random() < armed.chance),
    );
    if (!hit) return null;
    hit.left -= 1;
    if (hit.left <= 0) this.#armed = this.#armed.filter((armed) => armed !== hit);
    return hit.fault;
  }

  clear(): void {
    this.#armed = [];
  }
}

export interface DeliverySettings {
  /** Probability that an event is delivered twice. */
  readonly duplicateChance: number;
  /** Events held back and shuffled together; 0 keeps the order. */
  readonly reorderWindow: number;
  /** The socket is dropped after every so many events; 0 never. */
  readonly cutEvery: number;
  readonly seed: number;
}

const harmless: DeliverySettings = { duplicateChance: 0, reorderWindow: 0, cutEvery: 0, seed: 1 };

export class DeliveryFaults {
  #settings = harmless;
  #random = seededRandom(harmless.seed);
  #delivered = 0;
  /** false: heartbeats stay unanswered, so the client takes the connection for a zombie. */
  acknowledgesHeartbeats = true;

  set(settings: Partial<DeliverySettings>): void {
    this.#settings = { ...this.#settings, ...settings };
    this.#random = seededRandom(this.#settings.seed);
    this.#delivered = 0;
  }

  clear(): void {
    this.set(harmless);
    this.acknowledgesHeartbeats = true;
  }

  get reorderWindow(): number {
    return this.#settings.reorderWindow;
  }

  copies(): 1 | 2 {
    const { duplicateChance } = this.#settings;
    return duplicateChance > 0 && this.#random() < duplicateChance ? 2 : 1;
  }

  shuffle<T>(events: readonly T[]): T[] {
    const out = [...events];
    for (let i = out.length - 1; i > 0; i -= 1) {
      const j = Math.floor(this.#random() * (i + 1));
      [out[i], out[j]] = [out[j] as T, out[i] as T];
    }
    return out;
  }

  /** Counts one delivery; true when the socket is to be cut after it. */
  cutsNow(): boolean {
    const { cutEvery } = this.#settings;
    this.#delivered += 1;
    return cutEvery > 0 && this.#delivered % cutEvery === 0;
  }
}
