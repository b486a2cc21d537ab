/**
 * What a Redis holds, in memory, with time as it is told. Byte strings are JavaScript strings of
 * Latin-1: one character, one byte.
 */
export type Reply =
  | null
  | number
  | string
  | { readonly ok: string }
  | { readonly error: string }
  | Reply[];

export type Value =
  | { readonly kind: "string"; value: string }
  | { readonly kind: "list"; readonly values: string[] }
  | { readonly kind: "hash"; readonly fields: Map<string, string> }
  | { readonly kind: "zset"; readonly scores: Map<string, number> };

interface Entry {
  readonly value: Value;
  /** Unix ms; null when it stays. */
  expiresMs: number | null;
}

type Kind = Value["kind"];
type OfKind<K extends Kind> = Extract<Value, { kind: K }>;

const wrongType = "WRONGTYPE Operation against a key holding the wrong kind of value";

/** A command that is refused; its message is the error's. */
export class Refusal extends Error {}

export class Store {
  /** Unix ms. */
  nowMs = 0;
  /** As if `maxmemory` were reached. */
  full = false;
  readonly #entries = new Map<string, Entry>();

  clear(): void {
    this.#entries.clear();
  }

  /** Live keys, in no promised order. */
  keys(): string[] {
    return [...this.#entries.keys()].filter((key) => this.value(key) !== undefined);
  }

  value(key: string): Value | undefined {
    return this.entry(key)?.value;
  }

  entry(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.expiresMs === null || entry.expiresMs > this.nowMs)
      return entry;
    this.#entries.delete(key);
    return undefined;
  }

  of<K extends Kind>(key: string, kind: K): OfKind<K> | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    if (value.kind !== kind) throw new Refusal(wrongType);
    return value as OfKind<K>;
  }

  /** The value, or a new empty one put in its place. */
  make<K extends Exclude<Kind, "string">>(key: string, kind: K): OfKind<K> {
    const found = this.of(key, kind);
    if (found !== undefined) return found;
    const value = emptyOf(kind) as OfKind<K>;
    this.put(key, value);
    return value;
  }

  put(key: string, value: Value, expiresMs: number | null = null): void {
    this.#entries.set(key, { value, expiresMs });
  }

  delete(key: string): boolean {
    return this.entry(key) !== undefined && this.#entries.delete(key);
  }

  /** An emptied value is none. */
  tidy(key: string): void {
    const value = this.value(key);
    if (value !== undefined && sizeOf(value) === 0) this.#entries.delete(key);
  }
}

function emptyOf(kind: Exclude<Kind, "string">): Value {
  switch (kind) {
    case "list":
      return { kind, values: [] };
    case "hash":
      return { kind, fields: new Map() };
    case "zset":
      return { kind, scores: new Map() };
  }
}

function sizeOf(value: Value): number {
  switch (value.kind) {
    case "string":
      return 1;
    case "list":
      return value.values.length;
    case "hash":
      return value.fields.size;
    case "zset":
      return value.scores.size;
  }
}
