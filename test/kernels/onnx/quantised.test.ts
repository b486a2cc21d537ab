/**
 * All backends on one converted file: head sizes and vocabularies of the models people have, fp32 and
 * quantised. What quantisation may cost is told by a naive run of the same precision: the oracle on the
 * very numbers that the codes stand for, with int8 activations.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { OpenBackend } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { openReference } from "#kernels/backends/reference/reference.ts";
import { stateLength } from "#kernels/model/config.ts";
import { convertModel } from "#kernels/model/convert.ts";
import type { BlockSize, Quantise } from "#kernels/model/quantise/layout.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { ErrorSum, relativeError } from "#test/contract/backend.rows.ts";
import { Oracle } from "#test/contract/oracle.ts";

const root = mkdtempSync(join(tmpdir(), "eyrie-quantised-"));
afterAll(() => rmSync(root, { recursive: true }));

interface Run {
  readonly logits: Float32Array;
  readonly state: Float32Array;
}

async function run(
  open: OpenBackend,
  directory: string,
  input: { readonly tokens: readonly number[]; readonly quantise: Quantise },
): Promise<Run> {
  const { tokens, quantise } = input;
  const backend = await open(directory, { slots: 1, threads: 1 }, { quantise });
  const [row] = await backend.step({ rows: [{ slot: 0, tokens, want: "all" }] });
  const state = backend.readState(0);
  backend.close();
  return { logits: row!.logits!, state };
}

/** Root mean square of the relative errors of all logits and of the state. */
function rms(vocabSize: number, actual: { logits: readonly ArrayLike<number>[] } & StateLike) {
  return (exact: { logits: readonly ArrayLike<number>[] } & StateLike): number => {
    const sum = new ErrorSum();
    exact.logits.forEach((row, t) => sum.add(actual.logits[t]!, row));
    sum.add(actual.state, exact.state);
    expect(actual.logits[0]).toHaveLength(vocabSize);
    return sum.rms;
  };
}
interface StateLike {
  readonly state: ArrayLike<number>;
}

const sizes = [8, 32, 64].flatMap((headSize) =>
  [256, 4_096, 65_536].map((vocabSize) => ({ headSize, vocabSize })),
);

describe.each(sizes)("heads of $headSize, $vocabSize tokens", ({ headSize, vocabSize }) => {
  const shape = { layers: 2, heads: 128 / headSize, headSize, ffnWidth: 192, vocabSize };
  const tokens = Array.from({ length: 7 }, (_, index) => (index * 7919 + 17) % vocabSize);
  const directory = join(root, `${headSize}-${vocabSize}`);
  const rowsOf = ({ logits, state }: Run) => {
    const logitsOf = (t: number) => logits.subarray(t * vocabSize, (t + 1) * vocabSize);
    return { logits: tokens.map((_, t) => logitsOf(t)), state };
  };

  test("reference and onnx agree, and quantisation costs what it must", async () => {
    const plain = join(directory, "plain");
    writeRandomModel(plain, shape, { seed: 11, dtype: "F16" });
    const model = join(directory, "model");
    await convertModel(plain, model, { quantise: ["none", "q8", "q4"] });
    const fp32 = await run(openReference, model, { tokens, quantise: "none" });
    const onnx = await run(openOnnx, model, { tokens, quantise: "none" });
    expect(relativeError(onnx.logits, fp32.logits)).toBeLessThan(5e-6);
    expect(relativeError(onnx.state, fp32.state)).toBeLessThan(5e-6);

    const zeros = new Float32Array(stateLength((await Oracle.open(model)).config));
    const exact = (await Oracle.open(model)).run(tokens, zeros);
    for (const quantise of ["q8", "q4"] as const) {
      const own = rowsOf(await run(openOnnx, model, { tokens, quantise }));
      const plainKernels = rowsOf(await run(openReference, model, { tokens, quantise }));
      const naiveOracle = await Oracle.open(model, { quantise, activationBlock: 32 });
      const naive = naiveOracle.run(tokens, zeros);
      const distance = (to: typeof naive | typeof own) => ({
        own: rms(vocabSize, own)(to),
        naive: rms(vocabSize, naive)(to),
      });
      // Against the same numbers without rounding of activations, then against the fp32 weights.
      for (const { own: error, naive: bound } of [distance(plainKernels), distance(exact)]) {
        expect(error).toBeLessThan(2 * bound);
      }
    }
  });
});

describe("blocks of 128", () => {
  const shape = { layers: 2, heads: 4, headSize: 64, ffnWidth: 896, vocabSize: 512 };
  const block: BlockSize = 128;

  test.each(["q8", "q4"] as const)(
    "%s stays near, says that bits may vary with load, and does not promise exact chunks",
    async (quantise) => {
      const directory = join(root, `b128-${quantise}`);
      writeRandomModel(join(directory, "plain"), shape, { seed: 2, dtype: "F16" });
      const model = join(directory, "model");
      await convertModel(join(directory, "plain"), model, { quantise: [quantise], block });
      const backend = await openOnnx(model, { slots: 2, threads: 1 });
      expect(backend.numericClass).toMatch(new RegExp(`/${quantise}-b128$`));
      expect(backend.chunkExact).toBe(false);
      const tokens = [5, 6, 7, 8, 9];
      const rows = [0, 1].map((slot) => ({ slot, tokens, want: "last" }) as const);
      const [first, second] = await backend.step({ rows });
      backend.close();
      const naive = await Oracle.open(model, { activationBlock: block });
      const exact = await Oracle.open(model);
      const zeros = new Float32Array(stateLength(exact.config));
      const expected = exact.run(tokens, zeros).logits.at(-1)!;
      const own = new ErrorSum();
      own.add(first!.logits!, expected);
      own.add(second!.logits!, expected);
      const bound = new ErrorSum();
      bound.add(naive.run(tokens, zeros).logits.at(-1)!, expected);
      expect(own.rms).toBeLessThan(2 * bound.rms);
    },
  );
});
