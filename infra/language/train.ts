/**
 * Counts `text/<lang>.txt` into `profiles.tsv`: `node eyrie.mjs --run infra/language/train.ts`.
 * The same text gives the same bytes on any machine; a test holds the two together.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { countFeatures, formatCounts, trainingText } from "#infra/language/profiles.ts";

const file = join(import.meta.dirname, "profiles.tsv");
writeFileSync(file, formatCounts(countFeatures(trainingText)));
