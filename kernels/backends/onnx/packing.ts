/**
 * Lays the rows of one run out for the graph: tokens packed without gaps, and index tensors that tell
 * which token stands where. Also decides which rows of a plan share a run.
 *
 * Pure. Promises that an index of a row's timeline never points at another row's token, so numbers
 * that are not finite stay in their row.
 */
import type { PlanRow } from "#kernels/backends/contract.ts";
import type { ModelConfig } from "#kernels/model/config.ts";

/** The graph's index inputs; names and shapes as in `graph.ts`. */
export interface Packing {
  /** B, P, S, Q */
  readonly rows: number;
  readonly tokens: number;
  readonly positions: number;
  readonly wantedTokens: number;
  readonly previous: BigInt64Array;
  readonly last: BigInt64Array;
  readonly timeline: BigInt64Array;
  readonly writes: Float32Array;
  readonly reads: BigInt64Array;
  readonly wanted: BigInt64Array;
}

type PackedRow = Pick<PlanRow, "tokens" | "want" | "sample">;

/** A token reads the state at position 2t of its row's timeline and writes it at 2t + 1. */
const positionsPerToken = 2;

export function packRows(rows: readonly PackedRow[]): Packing {
  const tokens = rows.reduce((sum, row) => sum + row.tokens.length, 0);
  const longest = rows.reduce((most, row) => Math.max(most, row.tokens.length), 0);
  const positions = longest * positionsPerToken;
  const previous = new BigInt64Array(tokens);
  const last = new BigInt64Array(rows.length);
  const timeline = new BigInt64Array(rows.length * positions);
  const writes = new Float32Array(rows.length * positions);
  const reads = new BigInt64Array(tokens);
  const wanted: bigint[] = [];
  let first = 0;
  rows.forEach((row, index) => {
    const { length } = row.tokens;
    const start = index * positions;
    for (let t = 0; t < length; t++) {
      const packed = first + t;
      const position = start + t * positionsPerToken;
      previous[packed] = BigInt(t === 0 ? index : rows.length + packed - 1);
      reads[packed] = BigInt(position);
      timeline.fill(BigInt(packed), position, position + positionsPerToken);
      writes[position + 1] = 1;
      if (isWanted(row, t)) wanted.push(BigInt(packed));
    }
    // Past its end a row repeats its own last token, which then writes nothing.
    const end = BigInt(first + length - 1);
    last[index] = end;
    timeline.fill(end, start + length * positionsPerToken, start + positions);
    first += length;
  });
  const sizes = { rows: rows.length, tokens, positions, wantedTokens: wanted.length };
  const wantedIndices = BigInt64Array.from(wanted);
  return { ...sizes, previous, last, timeline, writes, reads, wanted: wantedIndices };
}

/** How many tokens of a row have their logits computed. */
export function wantedCount(row: PackedRow): number {
  if (row.want === "all") return row.tokens.length;
  return row.want === "last" || row.sample !== undefined ? 1 : 0;
}

function isWanted(row: PackedRow, t: number): boolean {
  return t >= row.tokens.length - wantedCount(row);
}

/**
 * Groups rows into runs at least cost. Mates of different length waste positions of the shorter
 * timelines; a further run reads all weights again. A wasted position passes over a layer's whole
 * matrix state: both cost about 0.1 ns a number (measured on two cores, fp32), so numbers are what is
 * counted.
 */
export function groupRows<Row extends PackedRow>(
  rows: readonly Row[],
  config: ModelConfig,
): Row[][] {
  const byLength = [...rows].sort((a, b) => a.tokens.length - b.tokens.length);
  const runCost = numbersPerRun(config);
  const paddingCost = positionsPerToken * config.layers * config.width * config.headSize;
  // cheapest[n]: the cost of the n shortest rows, and where the last of their runs begins.
  const cheapest = [{ cost: 0, from: 0 }];
  byLength.forEach(({ tokens: { length: longest } }, end) => {
    let padding = 0;
    let best = { cost: Infinity, from: end };
    for (let from = end; from >= 0; from--) {
      padding += longest - byLength[from]!.tokens.length;
      const cost = cheapest[from]!.cost + runCost + padding * paddingCost;
      if (cost < best.cost) best = { cost, from };
    }
    cheapest.push(best);
  });
  const groups: Row[][] = [];
  for (let end = byLength.length; end > 0; end = cheapest[end]!.from) {
    groups.push(byLength.slice(cheapest[end]!.from, end));
  }
  return groups;
}

/** Numbers in all matrices but the embedding. */
function numbersPerRun({ layers, width, ffnWidth, vocabSize }: ModelConfig): number {
  return layers * (6 * width + 2 * ffnWidth) * width + vocabSize * width;
}
