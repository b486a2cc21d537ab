/** Whether a vocabulary is one for a model: only their sizes can tell. */
import { ModelError } from "#kernels/errors.ts";

/**
 * A model has a row of logits and of embeddings for each id below `vocabSize`.
 *
 * @throws ModelError `VOCABULARY_BROKEN` where the vocabulary has ids beyond
 */
export function refuseIdsBeyond(
  vocabSize: number,
  vocabulary: { readonly path: string; readonly tokenIdMax: number },
): void {
  const { path, tokenIdMax: idMax } = vocabulary;
  if (idMax < vocabSize) return;
  const reason = `it has the id ${idMax}, the model ${vocabSize} tokens`;
  throw new ModelError("VOCABULARY_BROKEN", { path, line: 0, reason });
}
