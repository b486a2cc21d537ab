/**
 * Rate limits as Discord enforces them: a bucket for each route and major parameter, 50 requests a
 * second for the whole bot, and the ban after 10,000 invalid requests in 10 minutes.
 *
 * Discord publishes no bucket sizes; 5 in 5 s for creating and for editing in one channel is what
 * the community observes, so it is the default here. Windows are fixed and start with the first
 * request, as the headers' `Reset-After` implies.
 */
import { createHash } from "node:crypto";
import type { DoubleClock } from "../clock.ts";

export interface BucketRule {
  /** Infinity lifts the limit: no headers, no refusals. */
  readonly limit: number;
  readonly windowMs: number;
}

export interface RateLimitOptions {
  /** By route name; others take `fallback`. */
  readonly rules: Readonly<Record<string, BucketRule>>;
  readonly fallback: BucketRule;
  readonly global: BucketRule;
  readonly invalid: BucketRule;
}

const perChannel: BucketRule = { limit: 5, windowMs: 5_000 };

export const defaultRateLimits: RateLimitOptions = {
  rules: {
    "POST /channels/:channel/messages": perChannel,
    "PATCH /channels/:channel/messages/:message": perChannel,
    "DELETE /channels/:channel/messages/:message": { limit: 5, windowMs: 1_000 },
    "POST /channels/:channel/typing": perChannel,
    "POST /webhooks/:application/:token": perChannel,
    "PATCH /webhooks/:application/:token/messages/:message": perChannel,
    "POST /interactions/:interaction/:token/callback": { limit: Infinity, windowMs: 1_000 },
    "GET /gateway/bot": { limit: 2, windowMs: 5_000 },
  },
  fallback: { limit: 10, windowMs: 5_000 },
  global: { limit: 50, windowMs: 1_000 },
  invalid: { limit: 10_000, windowMs: 600_000 },
};

export type Scope = "user" | "shared" | "global";

export interface Verdict {
  readonly headers: Readonly<Record<string, string>>;
  /** null: go ahead. */
  readonly refused: { readonly scope: Scope; readonly retryAfterMs: number } | null;
}

interface Window {
  used: number;
  endsAtMs: number;
}

const bucketsMax = 20_000;

export class RateLimits {
  readonly #clock: DoubleClock;
  readonly #windows = new Map<string, Window>();
  #options: RateLimitOptions;
  #rules: Map<string, BucketRule>;
  /** Requests answered 401, 403 or 429 (not shared) in the present ten minutes. */
  readonly #invalid: Window = { used: 0, endsAtMs: 0 };
  invalidTotal = 0;

  constructor(clock: DoubleClock, options: Partial<RateLimitOptions>) {
    this.#clock = clock;
    this.#options = { ...defaultRateLimits, ...options };
    this.#rules = new Map(Object.entries({ ...defaultRateLimits.rules, ...options.rules }));
  }

  setRule(route: string, rule: BucketRule): void {
    this.#rules.set(route, rule);
  }

  setGlobal(rule: BucketRule): void {
    this.#options = { ...this.#options, global: rule };
  }

  /** No limit any more: for measuring what the bot itself can do. */
  lift(): void {
    const none: BucketRule = { limit: Infinity, windowMs: 1_000 };
    this.#rules = new Map();
    this.#options = { ...this.#options, fallback: none, global: none };
  }

  /** How long this address stays banned for too many invalid requests; 0: it is not. */
  bannedForMs(): number {
    const now = this.#clock.now();
    const { used, endsAtMs } = this.#invalid;
    return used >= this.#options.invalid.limit && now < endsAtMs ? endsAtMs - now : 0;
  }

  noteInvalid(): void {
    const now = this.#clock.now();
    if (now >= this.#invalid.endsAtMs) {
      this.#invalid.used = 0;
      this.#invalid.endsAtMs = now + this.#options.invalid.windowMs;
    }
    this.#invalid.used += 1;
    this.invalidTotal += 1;
  }

  /** Spends one request. `exempt`: not bound to the global limit (interaction endpoints). */
  take(route: string, major: string, options: { exempt: boolean }): Verdict {
    const { global } = this.#options;
    if (!options.exempt && Number.isFinite(global.limit)) {
      const window = this.#window("global", global);
      if (window.used >= global.limit) {
        const retryAfterMs = window.endsAtMs - this.#clock.now();
        return { headers: {}, refused: { scope: "global", retryAfterMs } };
      }
      window.used += 1;
    }
    return this.#takeBucket(route, major);
  }

  #takeBucket(route: string, major: string): Verdict {
    const rule = this.#rules.get(route) ?? this.#options.fallback;
    if (!Number.isFinite(rule.limit)) return { headers: {}, refused: null };
    const window = this.#window(`${route} ${major}`, rule);
    const full = window.used >= rule.limit;
    if (!full) window.used += 1;
    const leftMs = Math.max(1, window.endsAtMs - this.#clock.now());
    const headers = {
      "x-ratelimit-limit": String(rule.limit),
      "x-ratelimit-remaining": String(rule.limit - window.used),
      "x-ratelimit-reset": (window.endsAtMs / 1000).toFixed(3),
      "x-ratelimit-reset-after": (leftMs / 1000).toFixed(3),
      "x-ratelimit-bucket": bucketHash(route),
    };
    return { headers, refused: full ? { scope: "user", retryAfterMs: leftMs } : null };
  }

  #window(key: string, rule: BucketRule): Window {
    const now = this.#clock.now();
    const known = this.#windows.get(key);
    if (known && now < known.endsAtMs) return known;
    if (this.#windows.size > bucketsMax) this.#sweep(now);
    const fresh: Window = { used: 0, endsAtMs: now + rule.windowMs };
    this.#windows.set(key, fresh);
    return fresh;
  }

  #sweep(now: number): void {
    for (const [key, window] of this.#windows) {
      if (now >= window.endsAtMs) this.#windows.delete(key);
    }
  }
}

const bucketHash = (route: string): string =>
  createHash("sha1").update(route).digest("hex").slice(0, 32);

/** Channel, guild, or webhook with token: what a bucket is counted for, besides its route. */
export function majorOf(path: string, params: Readonly<Record<string, string>>): string {
  if (path.startsWith("/channels/:channel")) return params["channel"] ?? "";
  if (path.startsWith("/guilds/:guild")) return params["guild"] ?? "";
  if (path.startsWith("/webhooks/")) return `${params["application"]}/${params["token"]}`;
  if (path.startsWith("/interactions/")) return params["interaction"] ?? "";
  return "";
}

/** Headers and body of a 429 with Discord's wording. */
export function refusal(scope: Scope, retryAfterMs: number) {
  const seconds = Math.max(retryAfterMs, 1) / 1000;
  return {
    headers: {
      // Whole seconds in the header, the exact time in the body.
      "retry-after": String(Math.ceil(seconds)),
      "x-ratelimit-scope": scope,
      ...(scope === "global" ? { "x-ratelimit-global": "true" } : {}),
    },
    body: {
      message:
        scope === "shared" ? "The resource is being rate limited." : "You are being rate limited.",
      retry_after: seconds,
      global: scope === "global",
    },
  };
}
