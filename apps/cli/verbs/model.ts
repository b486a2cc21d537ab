/** `eyrie model …`: the model directories of this machine. */
import { statSync } from "node:fs";
import { loadConfig } from "#infra/config/config.ts";
import { type Model, openModel } from "#kernels/model/model.ts";
import { canonicalTensors, stateLength } from "#kernels/model/config.ts";
import { bytes, table } from "../output.ts";

export async function inspect(
  directory: string | undefined,
  options: { readonly json?: true },
): Promise<void> {
  const model = await openModel(directory ?? loadConfig(process.env).EYRIE_MODEL);
  try {
    const facts = await collect(model);
    if (options.json === true) process.stdout.write(`${JSON.stringify(facts, null, 2)}\n`);
    else process.stdout.write(describe(facts));
  } finally {
    model.close();
  }
}

async function collect(model: Model) {
  const shapes = [...canonicalTensors(model.config).values()];
  const parameters = shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
  return {
    name: model.name,
    directory: model.directory,
    fingerprint: await model.fingerprint(),
    ...model.config,
    parameters,
    weightsBytes: statSync(model.weightsPath).size,
    vocabulary: model.vocabularyPath,
    stateBytes: 4 * stateLength(model.config),
    fp32Bytes: 4 * parameters,
  };
}

function describe(facts: Awaited<ReturnType<typeof collect>>): string {
  return table([
    ["model", facts.name],
    ["directory", facts.directory],
    ["fingerprint", facts.fingerprint],
    ["architecture", `RWKV-v${facts.version} (Eagle)`],
    ["layers L", String(facts.layers)],
    ["width D", `${facts.width} = ${facts.heads} heads × ${facts.headSize}`],
    ["channel-mix F", String(facts.ffnWidth)],
    [
      "vocabulary V",
      `${facts.vocabSize}${facts.vocabulary === null ? " (no vocabulary file)" : ""}`,
    ],
    ["GroupNorm eps", String(facts.groupNormEps)],
    ["parameters", facts.parameters.toLocaleString("en-US")],
    ["weights file", bytes(facts.weightsBytes)],
    ["memory in fp32", bytes(facts.fp32Bytes)],
    ["state per conversation", `${bytes(facts.stateBytes)}, whatever its length`],
  ]);
}
