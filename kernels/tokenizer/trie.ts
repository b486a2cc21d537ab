/**
 * A byte trie in two integer arrays (a double-array trie: J. Aoe, 1989): the child of `node` on
 * `byte` is `base[node] + byte`, and is real when `parent[child] === node`. One step is two loads
 * and a compare, whatever the number of children, and the World vocabulary takes a few MB.
 */
import type { Vocabulary } from "./vocabulary.ts";

const rootNode = 0;
const free = -1;

export interface Trie {
  /** Where a node's children start. */
  readonly base: Int32Array;
  /** Owner of each cell, or -1. Longer than `base` reaches, so `base + byte` is always inside. */
  readonly parent: Int32Array;
  /** Token that ends at a node, or 0. */
  readonly token: Uint16Array;
}

interface Entry {
  readonly bytes: Uint8Array;
  readonly id: number;
}

export function buildTrie(vocabulary: Vocabulary): Trie {
  const entries: Entry[] = [];
  vocabulary.forEach((bytes, id) => {
    if (bytes !== undefined) entries.push({ bytes, id });
  });
  entries.sort((a, b) => Buffer.compare(a.bytes, b.bytes));

  const cells = new Cells();
  // Nodes still to be given children: the entries `from … to` share their first `depth` bytes.
  const pending = [{ node: rootNode, from: 0, to: entries.length, depth: 0 }];
  for (let next = 0; next < pending.length; next++) {
    const { node, from, to, depth } = pending[next]!;
    let first = from;
    if (entries[first]?.bytes.length === depth) cells.token[node] = entries[first++]!.id;
    if (first === to) continue;
    const groups = groupByByte(entries, { from: first, to, depth });
    const base = cells.place(groups.map(({ byte }) => byte));
    cells.base[node] = base;
    for (const { byte, from: start, to: end } of groups) {
      cells.parent[base + byte] = node;
      pending.push({ node: base + byte, from: start, to: end, depth: depth + 1 });
    }
  }
  return cells.finish();
}

interface Group {
  readonly byte: number;
  readonly from: number;
  readonly to: number;
}

function groupByByte(
  entries: readonly Entry[],
  range: { from: number; to: number; depth: number },
): Group[] {
  const groups: Group[] = [];
  let from = range.from;
  for (let i = range.from + 1; i <= range.to; i++) {
    const byte = entries[from]!.bytes[range.depth]!;
    if (i < range.to && entries[i]!.bytes[range.depth] === byte) continue;
    groups.push({ byte, from, to: i });
    from = i;
  }
  return groups;
}

/** The growing arrays, and the search for room among them. */
class Cells {
  base = new Int32Array(1 << 16);
  parent = new Int32Array(1 << 16).fill(free);
  token = new Uint16Array(1 << 16);
  /** Every cell before this one is taken. */
  #firstFree = 1;
  #used = 1;

  constructor() {
    this.parent[rootNode] = rootNode;
  }

  /** Smallest base at which the cells of all `bytes` (ascending) are free. */
  place(bytes: readonly number[]): number {
    while (this.parent[this.#firstFree] !== free) this.#firstFree++;
    const [lowest = 0] = bytes;
    for (let cell = Math.max(this.#firstFree, lowest + 1); ; cell++) {
      const base = cell - lowest;
      this.#reserve(base + 512);
      if (bytes.every((byte) => this.parent[base + byte] === free)) {
        this.#used = Math.max(this.#used, base + 256);
        return base;
      }
    }
  }

  finish(): Trie {
    const length = this.#used + 256;
    return {
      base: this.base.slice(0, length),
      parent: this.parent.slice(0, length),
      token: this.token.slice(0, length),
    };
  }

  #reserve(length: number): void {
    if (length <= this.parent.length) return;
    const grown = this.parent.length * 2;
    const { base, parent, token } = this;
    this.base = new Int32Array(grown);
    this.parent = new Int32Array(grown).fill(free);
    this.token = new Uint16Array(grown);
    this.base.set(base);
    this.parent.set(parent);
    this.token.set(token);
  }
}
