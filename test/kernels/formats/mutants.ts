/**
 * Seeded mutants of good and of hostile files, and what must hold of each: it is refused by name, or
 * read as something that lies where it says.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { ModelError } from "#kernels/errors.ts";
import { bufferSource } from "#kernels/model/formats/byte-source.ts";
import { openWeights } from "#kernels/model/formats/container.ts";
import { readPickle } from "#kernels/model/formats/pickle.ts";
import { readPth } from "#kernels/model/formats/pth.ts";
import { FormatRefusal } from "#kernels/model/formats/refusal.ts";
import { wholeModel } from "#kernels/model/formats/whole.ts";
import { hostileFiles } from "./hostile.ts";
import { config, weights, writeShards, writeTwin } from "./models.ts";
import { stateDict, torchFile, widthOf } from "./torch-file.ts";

interface Mutation {
  /** Share of the file. */
  readonly at: number;
  readonly remove: number;
  readonly insert: Uint8Array;
}

/** Numbers that sizes and opcodes are made of come more often than others. */
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 8 }),
  fc.constantFrom(
    ...[[0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0], [0x80], [0x28], [0x52], [0x71, 0], [0x68, 1]].map(
      (list) => Uint8Array.from(list),
    ),
    Buffer.from("cos\nsystem\n"),
    Buffer.from("PK\x01\x02", "latin1"),
  ),
);
/** Not `fc.double`: it draws every exponent alike, and so hits the first byte nearly always. */
const share = fc.nat(999_999).map((millionths) => millionths / 1e6);
const oneByte = fc.uint8Array({ minLength: 1, maxLength: 1 });
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  // One byte gets furthest in: names, sizes and opcodes stay almost what they were.
  { weight: 3, arbitrary: fc.record({ at: share, remove: fc.constant(1), insert: oneByte }) },
  // Overwrites: lengths stay, so that the mutant gets past the first check.
  bytes.chain((insert) =>
    fc
      .record({ at: share, remove: fc.constant(insert.length) })
      .map((where) => ({ ...where, insert })),
  ),
  fc.record({ at: share, remove: fc.nat(40), insert: bytes }),
);

function mutantsOf(files: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const mutations = fc.array(mutation, { minLength: 1, maxLength: 3 });
  return fc.tuple(fc.constantFrom(...files), mutations).map(([file, list]) =>
    list.reduce((mutant, { at, remove, insert }) => {
      const offset = Math.floor(at * mutant.length);
      return Buffer.concat([mutant.subarray(0, offset), insert, mutant.subarray(offset + remove)]);
    }, file),
  );
}

const small = { layers: 1, width: 8, heads: 1, headSize: 8, ffnWidth: 2, vocabSize: 1 };
const tensors = weights(() => "F16", { ...config, ...small }).slice(0, 6);
const good = torchFile(tensors);
const hostile = [...hostileFiles.values()].filter((file) => file.length < 8_000);
/** Every other mutant is one of the good file. */
const seeds = hostile.flatMap((file) => [file, good]);

export interface Counts {
  accepted: number;
  readonly refused: Map<string, number>;
}

function count(counts: Counts, error: unknown): void {
  const reason =
    error instanceof FormatRefusal ? error.reason : error instanceof ModelError ? error.code : null;
  if (reason === null) throw error;
  counts.refused.set(reason, (counts.refused.get(reason) ?? 0) + 1);
}

/** ZIP and pickle together. */
export function tryPthMutants(numRuns: number, seed: number): Counts {
  const counts: Counts = { accepted: 0, refused: new Map() };
  const property = fc.property(mutantsOf(seeds), (mutant) => {
    try {
      const { tensors: found } = readPth(bufferSource(mutant));
      counts.accepted++;
      checkFound(found, mutant);
    } catch (error) {
      count(counts, error);
    }
  });
  fc.assert(property, { numRuns, seed, endOnFailure: true });
  return counts;
}

/** The pickle alone: almost every mutant of a whole file dies in the ZIP. */
export function tryPickleMutants(numRuns: number, seed: number): Counts {
  const counts: Counts = { accepted: 0, refused: new Map() };
  const property = fc.property(mutantsOf([stateDict(tensors)]), (mutant) => {
    try {
      const { tensors: found } = readPth(bufferSource(torchFile(tensors, mutant)));
      counts.accepted++;
      checkFound(found, torchFile(tensors, mutant));
      if (readPickle(mutant) === undefined) throw new TypeError("no value");
    } catch (error) {
      count(counts, error);
    }
  });
  fc.assert(property, { numRuns, seed, endOnFailure: true });
  return counts;
}

type Found = ReturnType<typeof readPth>["tensors"];

/** By a search for local headers that shares nothing with the reader. */
function checkFound(found: Found, file: Buffer): void {
  const text = file.toString("latin1");
  const names = new Set<string>();
  for (const { name, dtype, shape, offset, bytes: length } of found) {
    const wanted = shape.reduce((product, extent) => product * extent, widthOf[dtype]);
    const header = text.lastIndexOf("PK\x03\x04", offset);
    const member = text.slice(header + 30, header + 30 + file.readUInt16LE(header + 26));
    const inside = offset >= 0 && offset + length <= file.length - 98;
    if (wanted !== length || !inside || !member.includes("/data/") || names.has(name)) {
      throw new RangeError(`wrongly accepted: ${JSON.stringify({ name, shape, offset, length })}`);
    }
    names.add(name);
  }
}

/** Whole files through `openWeights` and `wholeModel`: safetensors, or the index of shards. */
export async function tryFileMutants(
  directory: string,
  reader: "safetensors" | "index",
  options: { readonly numRuns: number; readonly seed: number },
): Promise<Counts> {
  const counts: Counts = { accepted: 0, refused: new Map() };
  const all = weights(() => "F16");
  const name = reader === "index" ? "model.safetensors.index.json" : "model.safetensors";
  const path = join(directory, name);
  if (reader === "index") writeShards(directory, "model.safetensors", all);
  else writeTwin(path, all);
  const original = readFileSync(path);
  // Mutants of the numbers themselves are good files: only the header is of interest.
  const header = reader === "index" ? original.length : 8 + Number(original.readBigUInt64LE());
  const property = fc.asyncProperty(mutantsOf([original.subarray(0, header)]), async (mutant) => {
    writeFileSync(path, Buffer.concat([mutant, original.subarray(header)]));
    try {
      const opened = await openWeights(path);
      try {
        const { tensors: whole } = wholeModel(opened, path);
        counts.accepted++;
        for (const { shape, source } of whole) {
          const wanted = shape.reduce((product, extent) => product * extent, 2);
          const { size } = await source.file.stat();
          if (wanted !== source.bytes || source.offset + source.bytes > size) {
            throw new RangeError(`wrongly accepted: ${source.name}`);
          }
        }
      } finally {
        await opened.close();
      }
    } catch (error) {
      count(counts, error);
    }
  });
  await fc.assert(property, { ...options, endOnFailure: true });
  return counts;
}
