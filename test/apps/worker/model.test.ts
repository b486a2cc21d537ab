/** What a worker refuses before it takes a turn. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openWorkerModel } from "#apps/worker/model.ts";
import { writeRandomModel } from "#kernels/model/random-model.ts";
import { testVocabulary } from "#test/doubles/backend/model.ts";

function aModel(vocabSize: number): string {
  const directory = mkdtempSync(join(tmpdir(), "eyrie-model-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const shape = { layers: 1, heads: 1, headSize: 64, ffnWidth: 64, vocabSize };
  writeRandomModel(directory, shape, { seed: 1, dtype: "F16", name: "by-hand" });
  copyFileSync(testVocabulary.path, join(directory, "vocab.txt"));
  const path = join(directory, "model.json");
  const described = JSON.parse(readFileSync(path, "utf8")) as object;
  writeFileSync(path, JSON.stringify({ ...described, vocabulary: "vocab.txt" }));
  return directory;
}

test("a vocabulary with ids that the model has no rows for is refused", async () => {
  const fits = await openWorkerModel(aModel(testVocabulary.size));
  expect(fits.tokenizer.idMax).toBeLessThan(testVocabulary.size);
  const refused = openWorkerModel(aModel(fits.tokenizer.idMax));
  await expect(refused).rejects.toMatchObject({ code: "VOCABULARY_BROKEN" });
});
