/**
 * Encoding speed on the World vocabulary, beside a plain scan over the same bytes.
 * Run: `node test/bench/tokenizer.ts [vocabulary]`. Prints MB/s and the ratio to the scan.
 */
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

const path = process.argv[2] ?? "../shared/data/rwkv_vocab_v20230424.txt";
const megabytes = 4;
const rounds = 9;

const passages = [
  "The eagle builds its nest where the wind is steady, and comes back to it every spring.\n",
  "El águila construye su nido donde el viento es constante. Кто рано встаёт, тому Бог подаёт.\n",
  "鹰在悬崖上筑巢,每年春天都会回来。鷲は断崖に巣を作り、毎年春に戻ってくる。독수리는 절벽에 둥지를 튼다.\n",
  "def nest(height: float) -> dict[str, float]:\n    return {'height': height ** 2}\n\n",
];

function medianSeconds(run: () => void): number {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const started = performance.now();
    run();
    times.push((performance.now() - started) / 1000);
  }
  times.sort((a, b) => a - b);
  return times[rounds >> 1]!;
}

const started = performance.now();
const tokenizer = Tokenizer.open(path);
console.log(`opened in ${(performance.now() - started).toFixed(0)} ms`);

const text = passages.join("");
const bytes = Buffer.from(text.repeat(Math.ceil((megabytes * 1e6) / Buffer.byteLength(text))));
let sum = 0;
const scan = medianSeconds(() => {
  for (let i = 0; i < bytes.length; i++) sum += bytes[i]!;
});
let tokens = 0;
const encode = medianSeconds(() => {
  tokens = tokenizer.encode(bytes).length;
});
const ids = tokenizer.encode(bytes);
const decode = medianSeconds(() => {
  sum += tokenizer.decode(ids).length;
});

const rate = (seconds: number): string => `${(bytes.length / 1e6 / seconds).toFixed(0)} MB/s`;
const ratio = (seconds: number): string => `${(seconds / scan).toFixed(1)} × the scan's time`;
console.log(`scan of the bytes: ${rate(scan)} (sum ${sum})`);
console.log(
  `encode: ${rate(encode)}, ${ratio(encode)}, ${(bytes.length / tokens).toFixed(2)} B/token`,
);
console.log(`decode: ${rate(decode)}, ${ratio(decode)}`);
