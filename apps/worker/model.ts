/** What the worker's main thread needs of a model: its name, its vocabulary, its fingerprint. */
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import { ModelError } from "#kernels/errors.ts";
import { openModel } from "#kernels/model/model.ts";
import { refuseIdsBeyond } from "#kernels/model/vocabulary-fit.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

export interface WorkerModel {
  readonly name: string;
  readonly fingerprint: string;
  readonly tokenizer: Tokenizer;
}

export async function openWorkerModel(
  directory: string,
  quantise?: Quantise,
): Promise<WorkerModel> {
  try {
    const model = await openModel(directory, { quantise });
    const { config, name, vocabularyPath } = model;
    const fingerprint = await model.fingerprint();
    model.close();
    if (vocabularyPath === null) throw new EyrieError("VOCABULARY_MISSING", { path: directory });
    const tokenizer = Tokenizer.open(vocabularyPath);
    refuseIdsBeyond(config.vocabSize, { path: vocabularyPath, tokenIdMax: tokenizer.idMax });
    return { name, fingerprint, tokenizer };
  } catch (error) {
    if (error instanceof ModelError) {
      throw new EyrieError(error.code satisfies ErrorCode, error.values, { cause: error });
    }
    throw error;
  }
}
