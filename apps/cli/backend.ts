/** The chosen backend in this very process, one slot unless told: for the verbs that need no platform. */
import { physicalCores } from "#infra/process/cores.ts";
import type {
  Backend,
  BackendLimits,
  OpenBackend,
  PlanRow,
  RowResult,
} from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { openReference } from "#kernels/backends/reference/reference.ts";
import { promptTokensMax } from "#kernels/model/memory.ts";
import type { OpenModelOptions } from "#kernels/model/model.ts";

const backends: Readonly<Record<string, OpenBackend>> = {
  onnx: openOnnx,
  reference: openReference,
};

export async function openBackend(
  name: string,
  directory: string,
  options: Partial<BackendLimits> & OpenModelOptions = {},
): Promise<Backend> {
  const open = backends[name];
  if (open === undefined) throw new Error(`unknown backend ${name}`);
  const { slots = 1, threads = physicalCores(), ...model } = options;
  return open(directory, { slots, threads }, model);
}

/**
 * One row however long, in steps as long as a worker's: what a step takes grows with its tokens, and what
 * `model inspect` says of memory holds for those. Returns what the last step gives.
 */
export async function feed(
  backend: Pick<Backend, "step">,
  row: PlanRow,
): Promise<RowResult | undefined> {
  const { slot, tokens } = row;
  let fed = 0;
  for (; tokens.length - fed > promptTokensMax; fed += promptTokensMax) {
    const piece = tokens.slice(fed, fed + promptTokensMax);
    await backend.step({ rows: [{ slot, tokens: piece, want: "none" }] });
  }
  const [result] = await backend.step({ rows: [{ ...row, tokens: tokens.slice(fed) }] });
  return result;
}
