/** `eyrie tokenize`: how a model's vocabulary cuts a text. */
import { ModelError } from "#kernels/errors.ts";
import { openModel } from "#kernels/model/model.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

export async function openTokenizer(directory: string): Promise<Tokenizer> {
  const model = await openModel(directory);
  model.close();
  if (model.vocabularyPath === null)
    throw new ModelError("VOCABULARY_MISSING", { path: directory });
  return Tokenizer.open(model.vocabularyPath);
}

export async function tokenize(
  text: string,
  options: { readonly model: string; readonly json?: true },
): Promise<void> {
  const tokenizer = await openTokenizer(options.model);
  const ids = tokenizer.encode(text);
  if (options.json !== true) {
    process.stdout.write(`${ids.join(",")}\n`);
    return;
  }
  const pieces = ids.map((id) => Buffer.from(tokenizer.bytesOf(id)).toString("utf8"));
  process.stdout.write(`${JSON.stringify({ ids, pieces })}\n`);
}
