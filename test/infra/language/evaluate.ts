/** Writes infra/language/accuracy.json: `node eyrie.mjs --run test/infra/language/evaluate.ts`. */
import { writeFileSync } from "node:fs";
import { measure, sets } from "#test/infra/language/measure.ts";

const accuracy = Object.fromEntries(sets.map((set) => [set, measure(set)]));
const file = new URL("../../../infra/language/accuracy.json", import.meta.url);
writeFileSync(file, `${JSON.stringify(accuracy, null, 2)}\n`);
for (const set of sets) process.stdout.write(`${set} ${JSON.stringify(accuracy[set]?.overall)}\n`);
