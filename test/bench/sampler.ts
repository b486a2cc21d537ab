/**
 * Time of one draw from a World-sized row, beside one plain pass over the same row.
 * Run: `node test/bench/sampler.ts`. Prints the median of the draws and the ratio to the pass.
 */
import type { SampleOptions } from "#kernels/backends/contract.ts";
import { Sampler } from "#kernels/sampler/sampler.ts";

const vocabSize = 65_536;
const draws = 300;
const warmUpDraws = 1200;

const base: SampleOptions = {
  seed: "bench",
  draw: 0,
  temperature: 1,
  topP: 0.3,
  presencePenalty: 0.5,
  frequencyPenalty: 0.5,
  penaltyDecay: 0.996,
  banned: [0],
};

/** Standard normal numbers by Box and Muller, from a small linear congruence. */
function normals(spread: number): Float32Array {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 1) / (2 ** 32 + 1);
  };
  const normal = (): number => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
  return Float32Array.from({ length: vocabSize }, () => spread * normal());
}

function medianMs(run: (draw: number) => void): number {
  const times: number[] = [];
  for (let draw = 0; draw < warmUpDraws; draw++) run(draw);
  for (let draw = 0; draw < draws; draw++) {
    const started = performance.now();
    run(draw);
    times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  return times[draws >> 1]!;
}

const peaked = normals(2);
for (let token = 0; token < 20; token++) peaked[token * 3000 + 7] = 14 - token / 2;
const cases: readonly (readonly [string, Float32Array, Partial<SampleOptions>])[] = [
  ["peaked, top-p 0.85, T 1.2", peaked, { topP: 0.85, temperature: 1.2 }],
  ["normal σ 3, top-p 0.5", normals(3), { topP: 0.5 }],
  ["normal σ 3, top-p 1, T 1.5", normals(3), { topP: 1, temperature: 1.5 }],
  ["all equal, top-p 0.5", new Float32Array(vocabSize), { topP: 0.5 }],
  ["peaked, top-p 0.3", peaked, {}],
  ["greedy", peaked, { temperature: 0 }],
];

let checksum = 0;
const onePass = medianMs(() => {
  let sum = 0;
  for (let i = 0; i < vocabSize; i++) sum += peaked[i]!;
  checksum += sum;
});
console.log(
  `one pass over ${vocabSize} logits: ${onePass.toFixed(3)} ms (sum ${checksum.toFixed(0)})`,
);
for (const [name, logits, options] of cases) {
  const sampler = new Sampler(1, vocabSize);
  const ms = medianMs((draw) => sampler.draw(0, logits, { ...base, ...options, draw }));
  console.log(`${name}: ${ms.toFixed(3)} ms, ${(ms / onePass).toFixed(1)} passes`);
}
